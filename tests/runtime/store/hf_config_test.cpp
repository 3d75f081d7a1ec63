// config.json: transformers' defaults, the keys that matter, what is refused, and the way back.
#include "runtime/store/hf_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::store {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json small() {
  return {{"model_type", "deepseek_v3"},
          {"vocab_size", 96},
          {"hidden_size", 32},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 2},
          {"num_hidden_layers", 3},
          {"n_routed_experts", 8},
          {"n_group", 4},
          {"topk_group", 2},
          {"num_experts_per_tok", 2}};
}

Result<HfConfig> parse(const json& value) { return parse_hf_config(value.dump(), "config.json"); }

std::string message_of(const Result<HfConfig>& config) {
  return config ? "(accepted)" : config.error().message;
}

std::string refusal(const std::string& key, const json& value) {
  json object = small();
  object[key] = value;
  const auto config = parse(object);
  if (config) return "(accepted)";
  EXPECT_EQ(config.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(config.error().message, HasSubstr("config.json"));
  return config.error().message;
}

std::vector<std::string> fields_of(model::ModelConfig config) {
  std::vector<std::string> out;
  config.visit_fields([&](auto&& f) { out.push_back(fmt::format("{}={}", f.name, f.value)); });
  return out;
}

TEST(HfConfig, AbsentKeysHaveTransformersDefaults) {
  const auto config = parse({{"model_type", "deepseek_v3"}});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(fields_of(config->model), fields_of(model::ModelConfig{}));
  EXPECT_EQ(config->model.hidden_size, 7168);
  EXPECT_FALSE(config->model.yarn);
  EXPECT_FALSE(config->dtype);
}

TEST(HfConfig, ReadsTheMicroOracle) {
  const auto config = read_hf_config(std::string(SLUICE_TEST_DATA) + "/hf/micro");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->model.q_lora_rank, 16);
  EXPECT_EQ(config->model.num_nextn_predict_layers, 1);
  EXPECT_EQ(config->dtype, DType::kF32);
  EXPECT_FALSE(config->fp8);
}

TEST(HfConfig, NullMeansWhatItMeansThere) {
  json object = small();
  object["q_lora_rank"] = nullptr;
  object["rope_scaling"] = nullptr;
  object["eos_token_id"] = nullptr;
  object["num_key_value_heads"] = nullptr;
  object["quantization_config"] = nullptr;
  const auto config = parse(object);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->model.q_lora_rank, 0);
  EXPECT_EQ(config->model.eos_token_id, -1);
  EXPECT_THAT(refusal("hidden_size", nullptr),
              HasSubstr("hidden_size must be an integer, but is null"));
}

TEST(HfConfig, YarnInEverySpelling) {
  for (const char* type_key : {"type", "rope_type"}) {
    json object = small();
    object["rope_scaling"] = {{type_key, "yarn"},
                              {"factor", 40},
                              {"mscale", 0.707},
                              {"mscale_all_dim", 1.0},
                              {"original_max_position_embeddings", 128.0}};
    const auto config = parse(object);
    ASSERT_TRUE(config) << config.error().message;
    ASSERT_TRUE(config->model.yarn);
    EXPECT_EQ(config->model.yarn->factor, 40);
    EXPECT_EQ(config->model.yarn->mscale, 0.707);
    EXPECT_EQ(config->model.yarn->original_max_position_embeddings, 128);
    EXPECT_EQ(config->model.yarn->beta_fast, 32);
    EXPECT_FALSE(config->model.yarn->attention_factor);
  }
  json newer = small();
  newer["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 500000.0}, {"factor", 2.0}};
  const auto config = parse(newer);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->model.rope_theta, 500000);
  EXPECT_EQ(config->model.yarn->original_max_position_embeddings,
            config->model.max_position_embeddings);
  newer["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5000.0}};
  EXPECT_FALSE(parse(newer)->model.yarn);
}

TEST(HfConfig, RefusesWhatIsNotComputed) {
  EXPECT_THAT(refusal("model_type", "llama"), HasSubstr("model_type is \"llama\""));
  EXPECT_THAT(refusal("attention_bias", true), HasSubstr("attention_bias"));
  EXPECT_THAT(refusal("attention_dropout", 0.1), HasSubstr("attention_dropout"));
  EXPECT_EQ(refusal("attention_dropout", 0), "(accepted)");
  EXPECT_THAT(refusal("hidden_act", "gelu"), HasSubstr("hidden_act"));
  EXPECT_THAT(refusal("scoring_func", "softmax"), HasSubstr("scoring_func"));
  EXPECT_THAT(refusal("topk_method", "greedy"), HasSubstr("topk_method"));
  EXPECT_THAT(refusal("num_key_value_heads", 1),
              HasSubstr("num_key_value_heads is 1, but num_attention_heads is 2"));
  EXPECT_THAT(refusal("num_key_value_heads", "2"), HasSubstr("num_key_value_heads is \"2\""));
  EXPECT_THAT(refusal("tie_word_embeddings", true), HasSubstr("tie_word_embeddings"));
  EXPECT_THAT(refusal("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}), HasSubstr("linear"));
  EXPECT_THAT(refusal("rope_scaling", {{"type", "yarn"}}), HasSubstr("factor is missing"));
  EXPECT_THAT(refusal("rope_scaling", "yarn"), HasSubstr("rope_scaling must be an object"));
  EXPECT_THAT(refusal("quantization_config", {{"quant_method", "gptq"}}), HasSubstr("gptq"));
  EXPECT_THAT(
      refusal("quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {64, 64}}}),
      HasSubstr("weight_block_size"));
  EXPECT_EQ(
      refusal("quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}}),
      "(accepted)");
  EXPECT_EQ(refusal("some_key_of_the_future", {{"a", 1}}), "(accepted)");
}

TEST(HfConfig, RefusesWrongTypesAndRanges) {
  EXPECT_THAT(refusal("num_attention_heads", 0),
              HasSubstr("num_attention_heads is 0, must be from 1 to"));
  EXPECT_THAT(refusal("hidden_size", "32"),
              HasSubstr("hidden_size must be an integer, but is \"32\""));
  EXPECT_THAT(refusal("hidden_size", 32.5), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal("hidden_size", true), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal("hidden_size", json::array()), HasSubstr("array"));
  EXPECT_THAT(refusal("hidden_size", -32), HasSubstr("hidden_size is -32"));
  EXPECT_THAT(refusal("hidden_size", 0), HasSubstr("hidden_size is 0"));
  EXPECT_THAT(refusal("hidden_size", 1e300), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal("hidden_size", 18446744073709551615ull), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal("vocab_size", 9223372036854775807ll), HasSubstr("vocab_size"));
  EXPECT_THAT(refusal("norm_topk_prob", 1), HasSubstr("norm_topk_prob"));
  EXPECT_THAT(refusal("rms_norm_eps", 0.0), HasSubstr("rms_norm_eps"));
  EXPECT_THAT(refusal("rope_theta", -1), HasSubstr("rope_theta"));
  EXPECT_THAT(refusal("rope_scaling", {{"type", "yarn"}, {"factor", 0.5}}),
              HasSubstr("factor is 0.5"));
}

TEST(HfConfig, RefusesImpossibleCombinations) {
  EXPECT_THAT(refusal("n_group", 3), HasSubstr("n_group 3 does not divide n_routed_experts 8"));
  EXPECT_THAT(refusal("num_experts_per_tok", 5),
              AllOf(HasSubstr("num_experts_per_tok 5"), HasSubstr("hold 4")));
  EXPECT_THAT(refusal("topk_group", 5), HasSubstr("topk_group 5 is more than n_group 4"));
  EXPECT_EQ(refusal("n_group", 8), "(accepted)");  // one expert a group
  EXPECT_THAT(refusal("qk_rope_head_dim", 5), HasSubstr("qk_rope_head_dim 5 is odd"));
  EXPECT_THAT(refusal("bos_token_id", 96), HasSubstr("bos_token_id"));
  EXPECT_THAT(refusal("num_hidden_layers", 1 << 24), HasSubstr("num_hidden_layers"));
  json huge = small();
  huge["first_k_dense_replace"] = 0;
  huge["n_routed_experts"] = 1 << 20;
  huge["hidden_size"] = 1 << 20;
  huge["moe_intermediate_size"] = 1 << 20;
  EXPECT_THAT(message_of(parse(huge)), HasSubstr("parameters"));
  huge["hidden_size"] = huge["moe_intermediate_size"] = 1;
  huge["num_hidden_layers"] = 1000;
  EXPECT_THAT(message_of(parse(huge)), HasSubstr("tensors"));
}

TEST(HfConfig, SurvivesHostileJson) {
  const auto message = [](const std::string& text) {
    return message_of(parse_hf_config(text, "here"));
  };
  EXPECT_THAT(message(""), HasSubstr("here: not JSON"));
  EXPECT_THAT(message("{\"a\":"), HasSubstr("not JSON"));
  EXPECT_THAT(message("{\"rope_theta\": NaN}"), HasSubstr("not JSON"));
  EXPECT_THAT(message("{\"rope_theta\": 1e999}"), HasSubstr("not JSON"));
  EXPECT_THAT(message("\xff\xfe"), HasSubstr("not JSON"));
  EXPECT_THAT(message("[1, 2]"), HasSubstr("one JSON object"));
  EXPECT_THAT(message(std::string(1'000'000, '[')), HasSubstr("here"));
  EXPECT_THAT(message(std::string(100, '[') + std::string(100, ']')), HasSubstr("deeper than"));
  EXPECT_THAT(message("{\"hidden_size\": 32, \"hidden_size\": 64}"),
              HasSubstr("\"hidden_size\" stands twice"));
  EXPECT_THAT(message(std::string(5 << 20, ' ')), HasSubstr("more than"));
  EXPECT_LT(message("\"" + std::string(1 << 20, 'x')).size(), 1000u);
}

TEST(HfConfig, MissingFileIsTheCallersFault) {
  const auto config = read_hf_config("/nonexistent/config.json");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(config.error().message, HasSubstr("/nonexistent/config.json"));
}

TEST(HfConfig, WrittenTextReadsBackTheSame) {
  json object = small();
  object["q_lora_rank"] = nullptr;
  object["eos_token_id"] = nullptr;
  object["rms_norm_eps"] = 1e-5;
  object["num_nextn_predict_layers"] = 2;
  object["rope_scaling"] = {
      {"type", "yarn"}, {"factor", 8.0}, {"original_max_position_embeddings", 64}, {"mscale", 1.0}};
  const auto config = parse(object);
  ASSERT_TRUE(config) << config.error().message;
  const std::string text = write_hf_config(config->model, DType::kBF16);
  const auto again = parse_hf_config(text, "again");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(fields_of(again->model), fields_of(config->model));
  EXPECT_EQ(again->model.yarn->mscale, 1.0);
  EXPECT_FALSE(again->model.yarn->mscale_all_dim);
  EXPECT_EQ(again->dtype, DType::kBF16);
  EXPECT_EQ(write_hf_config(again->model, DType::kBF16), text);
  const json written = json::parse(text);
  EXPECT_EQ(written["architectures"], json::array({"DeepseekV3ForCausalLM"}));
  EXPECT_TRUE(written["q_lora_rank"].is_null());
  EXPECT_EQ(written["torch_dtype"], "bfloat16");
}

}  // namespace
}  // namespace sluice::store
