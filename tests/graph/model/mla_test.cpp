// MLA against DeepSeek-V3's own inference code, naive and absorbed.
#include "graph/model/mla.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::test {
namespace {

using nlohmann::json;

json read_json(const char* name) {
  std::ifstream in(std::string(SLUICE_TEST_DATA) + "/deepseek/" + name);
  return json::parse(in);
}

model::ModelConfig config_of(const json& dims) {
  model::ModelConfig c;
  c.hidden_size = dims["dim"];
  c.num_attention_heads = dims["n_heads"];
  c.q_lora_rank = dims["q_lora_rank"];
  c.kv_lora_rank = dims["kv_lora_rank"];
  c.qk_nope_head_dim = dims["qk_nope"];
  c.qk_rope_head_dim = dims["qk_rope"];
  c.v_head_dim = dims["v"];
  if (dims["max_seq_len"] > dims["original_seq_len"]) {  // as that code decides
    model::Yarn yarn;
    yarn.factor = dims["rope_factor"];
    yarn.original_max_position_embeddings = dims["original_seq_len"];
    yarn.mscale = yarn.mscale_all_dim = 1.0;
    c.yarn = yarn;
  }
  return c;
}

/// That code's name of a parameter.
std::string name_there(const std::string& name) {
  static const std::map<std::string, std::string> kNames{{"q_proj", "wq"},
                                                         {"q_a_proj", "wq_a"},
                                                         {"q_a_layernorm", "q_norm"},
                                                         {"q_b_proj", "wq_b"},
                                                         {"kv_a_proj_with_mqa", "wkv_a"},
                                                         {"kv_a_layernorm", "kv_norm"},
                                                         {"kv_b_proj", "wkv_b"},
                                                         {"o_proj", "wo"}};
  const std::size_t dot = name.find('.');
  return kNames.at(name.substr(0, dot)) + name.substr(dot);
}

/// The numbers of nested lists, in order.
void append(const json& values, std::vector<float>& out) {
  if (!values.is_array()) return out.push_back(values.get<float>());
  for (const json& value : values) append(value, out);
}
std::vector<float> numbers(const json& values) {
  std::vector<float> out;
  append(values, out);
  return out;
}

class MlaTest : public testing::TestWithParam<std::size_t> {
 protected:
  MlaTest()
      : case_(read_json("mla.json")["cases"][GetParam()]),
        config_(config_of(case_["dims"])),
        constants_(model::make_constants(config_, model::Recipe::kFp32, 64)),
        mla_(constants_, "", set_),
        length_(case_["dims"]["seq"]),
        x_(Tensor::from<float>(numbers(case_["x"]), Shape{length_, config_.hidden_size})) {
    EXPECT_EQ(case_["weights"].size(), set_.all().size());
    for (model::Parameter& p : set_.all()) {
      const std::vector<float> values = numbers(case_["weights"][name_there(p.name)]);
      SLUICE_CHECK_EQ(static_cast<std::int64_t>(values.size()), p.shape.count());
      std::ranges::copy(values, p.master.values<float>().begin());
    }
    set_.refresh_compute(context_);
  }
  void expect(const char* name, const Tensor& y) const {
    const std::vector<float> values = numbers(case_[name]);
    EXPECT_TRUE(
        all_close(std::vector<double>(values.begin(), values.end()), y.view(), {.absolute = 1e-5}))
        << name;
  }

  json case_;
  model::ModelConfig config_;
  TestContext context_{kernels::best_isa(), 2};
  std::shared_ptr<const model::ModelConstants> constants_;
  model::ParameterSet set_{model::Recipe::kFp32, model::ParameterUse::kInference};
  model::Mla mla_;
  std::int64_t length_;
  Tensor x_;
};

TEST_P(MlaTest, NaiveFormEqualsDeepSeeksOwnCode) {
  EXPECT_NEAR(constants_->attention_scale, case_["softmax_scale"].get<double>(), 1e-7);
  model::Mla::Saved saved;
  expect("y_naive", mla_.forward(context_, model::make_batch(1, length_), x_, false, saved));
  EXPECT_TRUE(saved.x.empty());
}

TEST_P(MlaTest, AbsorbedFormEqualsDeepSeeksOwnCode) {
  model::LatentCache cache = model::make_latent_cache(*constants_, length_);
  expect("y_absorb", mla_.forward_cached(context_, model::make_batch(1, length_), x_, cache));
  EXPECT_EQ(cache.length, length_);
  EXPECT_EQ(cache.rows.shape().columns(), config_.kv_lora_rank + config_.qk_rope_head_dim);
}

INSTANTIATE_TEST_SUITE_P(Cases, MlaTest, testing::Values(0, 1), testing::PrintToStringParamName());

}  // namespace
}  // namespace sluice::test
