// Hugging Face folders: shards and index, what is missing, extra or wrong, FP8 scales, stored-only
// tensors.
#include "runtime/store/checkpoint_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/support/temporary_folder.hpp"

namespace sluice::store {
namespace {

using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Tensors = std::vector<std::pair<std::string, Tensor>>;

const std::filesystem::path kMicro = std::string(SLUICE_TEST_DATA) + "/hf/micro";

// What the model of `folder` needs, by the oracle's own index: all but the stored-only copies.
std::vector<NamedShape> needed_of(const std::filesystem::path& folder) {
  std::vector<NamedShape> needed;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with("model-")) continue;
    const auto shard = SafetensorsFile::open(entry.path());
    for (const StoredTensor& tensor : shard->tensors()) {
      const bool copy = tensor.name.ends_with("3.embed_tokens.weight") ||
                        tensor.name.ends_with("shared_head.head.weight");
      if (!copy) needed.push_back({tensor.name, *tensor.shape()});
    }
  }
  return needed;
}

// A checkpoint whose config says 96 x 32 and two layers, holding `tensors` in one file.
class SmallCheckpoint {
 public:
  explicit SmallCheckpoint(const Tensors& tensors) {
    folder_.write(
        "config.json",
        R"({"model_type":"deepseek_v3","vocab_size":96,"hidden_size":32,"num_hidden_layers":2,
      "num_attention_heads":2,"num_key_value_heads":2,"num_nextn_predict_layers":1,"intermediate_size":48,"moe_intermediate_size":16,"q_lora_rank":16,"kv_lora_rank":16,
      "n_routed_experts":8,"n_group":4,"topk_group":2,"num_experts_per_tok":2})");
    EXPECT_TRUE(write_safetensors(folder_.path() / "model.safetensors", tensors));
  }
  [[nodiscard]] CheckpointReader open() const {
    auto reader = CheckpointReader::open(folder_.path());
    SLUICE_CHECK(reader.has_value(), "{}", reader.error().message);
    return std::move(*reader);
  }

 private:
  TemporaryFolder folder_;
};

std::string problem(const CheckpointReader& reader, const std::vector<NamedShape>& needed) {
  const auto notes = reader.check(needed);
  return notes ? "(accepted)" : notes.error().message;
}

Tensor floats(Shape shape) {
  Tensor t = Tensor::zeros(DType::kF32, shape);
  float value = -3.0f;
  for (float& x : t.values<float>()) x = value += 0.37f;
  return t;
}

TEST(CheckpointReader, ReadsTheMicroOracle) {
  const auto reader = CheckpointReader::open(kMicro);
  ASSERT_TRUE(reader) << reader.error().message;
  const auto needed = needed_of(kMicro);
  const auto notes = reader->check(needed);
  ASSERT_TRUE(notes) << notes.error().message;
  ASSERT_EQ(notes->size(), 1u);
  EXPECT_THAT(notes->front(),
              AllOf(HasSubstr("copy of the shared embedding or head"), HasSubstr("2 tensors")));
  for (const NamedShape& tensor : needed) {
    std::vector<float> values(static_cast<std::size_t>(tensor.shape.count()), NAN);
    ASSERT_TRUE(reader->read(tensor.name, tensor.shape, values));
    for (const float x : values) ASSERT_TRUE(std::isfinite(x)) << tensor.name;
  }
}

TEST(CheckpointReader, ReadsWhatIsStored) {
  const Tensor a = floats({300, 7});
  Tensor b = Tensor::zeros(DType::kBF16, {5});
  for (std::size_t i = 0; i < 5; ++i)
    b.values<BF16>()[i] = BF16::from_float(static_cast<float>(i) - 2.5f);
  const SmallCheckpoint checkpoint({{"a", a}, {"b", b}});
  const CheckpointReader reader = checkpoint.open();
  std::vector<float> values(2100);
  ASSERT_TRUE(reader.read("a", {300, 7}, values));
  EXPECT_TRUE(std::equal(values.begin(), values.end(), a.values<float>().begin()));
  values.resize(5);
  ASSERT_TRUE(reader.read("b", {5}, values));
  EXPECT_EQ(values, (std::vector<float>{-2.5f, -1.5f, -0.5f, 0.5f, 1.5f}));
  EXPECT_THAT(reader.read("c", {5}, values).error().message, HasSubstr("missing: c"));
  EXPECT_THAT(reader.read("b", {1, 5}, values).error().message,
              HasSubstr("shape [5] where [1, 5]"));
}

TEST(CheckpointReader, NamesWhatIsMissingExtraAndWrong) {
  const SmallCheckpoint checkpoint({{"a", floats({2, 3})},
                                    {"b", floats({4})},
                                    {"i", Tensor::zeros(DType::kI32, {4})},
                                    {"extra.weight", floats({1})}});
  const std::string message =
      problem(checkpoint.open(), {{"a", {3, 2}}, {"b", {4}}, {"i", {4}}, {"absent", {1}}});
  EXPECT_THAT(message, AllOf(HasSubstr("missing: absent"), HasSubstr("extra: extra.weight"),
                             HasSubstr("wrong: a: shape [2, 3] where [3, 2] is needed"),
                             HasSubstr("wrong: i: dtype I32"), Not(HasSubstr("wrong: b"))));
}

TEST(CheckpointReader, CountsBeyondTheFirstProblems) {
  const SmallCheckpoint checkpoint({{"a", floats({1})}});
  std::vector<NamedShape> needed{{"a", {1}}};
  for (int i = 0; i < 1000; ++i) needed.push_back({fmt::format("absent.{}", i), {1}});
  const std::string message = problem(checkpoint.open(), needed);
  EXPECT_THAT(message, AllOf(HasSubstr("absent.19"), Not(HasSubstr("absent.20")),
                             HasSubstr("and 980 more")));
}

TEST(CheckpointReader, StoredOnlyTensorsAreNoted) {
  const SmallCheckpoint checkpoint({{"a", floats({1})},
                                    {"model.layers.2.embed_tokens.weight", floats({96, 32})},
                                    {"model.layers.2.shared_head.head.weight", floats({96, 32})},
                                    {"model.layers.0.self_attn.rotary_emb.inv_freq", floats({4})},
                                    {"model.layers.3.mlp.anything.weight", floats({4})}});
  const auto notes = checkpoint.open().check(std::vector<NamedShape>{{"a", {1}}});
  ASSERT_TRUE(notes) << notes.error().message;
  EXPECT_EQ(notes->size(), 3u);
}

TEST(CheckpointReader, StoredOnlyTensorsAreStillChecked) {
  const SmallCheckpoint checkpoint({{"a", floats({1})},
                                    {"model.layers.2.embed_tokens.weight", floats({32, 96})},
                                    {"model.layers.1.embed_tokens.weight", floats({96, 32})},
                                    {"model.layers.2.mlp.experts.8.up_proj.weight", floats({4})}});
  EXPECT_THAT(problem(checkpoint.open(), {{"a", {1}}}),
              AllOf(HasSubstr("wrong: model.layers.2.embed_tokens.weight"),
                    HasSubstr("extra: model.layers.1.embed_tokens.weight"),
                    HasSubstr("extra: model.layers.2.mlp.experts.8")));
}

// 0x38 is 1.0 in E4M3.
Tensor ones_e4m3(Shape shape) {
  Tensor t = Tensor::zeros(DType::kE4M3, shape);
  for (std::size_t i = 0; i < t.size_bytes(); ++i) t.bytes()[i] = std::byte{0x38};
  return t;
}

TEST(CheckpointReader, Fp8IsScaledByBlock) {
  const Shape shape{300, 130};
  Tensor scales = Tensor::zeros(DType::kF32, {3, 2});
  for (std::size_t i = 0; i < 6; ++i) scales.values<float>()[i] = static_cast<float>(i + 1);
  const SmallCheckpoint checkpoint(
      {{"w.weight", ones_e4m3(shape)}, {"w.weight_scale_inv", scales}});
  const CheckpointReader reader = checkpoint.open();
  EXPECT_EQ(problem(reader, {{"w.weight", shape}}), "(accepted)");
  std::vector<float> values(static_cast<std::size_t>(shape.count()));
  ASSERT_TRUE(reader.read("w.weight", shape, values));
  for (std::int64_t row = 0; row < 300; ++row) {
    for (std::int64_t column = 0; column < 130; ++column) {
      ASSERT_EQ(values[static_cast<std::size_t>(row * 130 + column)],
                static_cast<float>(row / 128 * 2 + column / 128 + 1));
    }
  }
}

TEST(CheckpointReader, Fp8WithoutFittingScalesIsNamed) {
  const NamedShape w{"w.weight", {300, 130}};
  EXPECT_THAT(problem(SmallCheckpoint({{w.name, ones_e4m3(w.shape)}}).open(), {w}),
              HasSubstr("without its scales w.weight_scale_inv"));
  const auto with_scale = [&](const Tensor& scale) {
    return problem(
        SmallCheckpoint({{w.name, ones_e4m3(w.shape)}, {"w.weight_scale_inv", scale}}).open(), {w});
  };
  EXPECT_THAT(with_scale(floats({2, 2})), HasSubstr("shape [2, 2] where [3, 2]"));
  EXPECT_THAT(with_scale(floats({6})), HasSubstr("shape [6] where [3, 2]"));
  EXPECT_THAT(with_scale(Tensor::zeros(DType::kBF16, {3, 2})),
              HasSubstr("of dtype BF16 where F32"));
  EXPECT_THAT(problem(SmallCheckpoint({{"v", ones_e4m3({4})}}).open(), {{"v", {4}}}),
              HasSubstr("only matrices"));
  // Scales of a tensor that is not FP8 would be ignored, silently: named instead.
  EXPECT_THAT(
      problem(SmallCheckpoint({{"v", floats({4, 4})}, {"v_scale_inv", floats({1, 1})}}).open(),
              {{"v", {4, 4}}}),
      HasSubstr("extra: v_scale_inv"));
}

// The micro oracle's folder with one file replaced.
std::string opening_with(const std::string& file, const std::optional<std::string>& content) {
  TemporaryFolder folder;
  for (const auto& entry : std::filesystem::directory_iterator(kMicro)) {
    if (entry.path().filename() != file)
      std::filesystem::copy(entry.path(), folder.path() / entry.path().filename());
  }
  if (content) folder.write(file, *content);
  const auto reader = CheckpointReader::open(folder.path());
  if (reader) return "(opened)";
  EXPECT_EQ(reader.error().kind, ErrorKind::kInvalidInput);
  return reader.error().message;
}

constexpr const char* kIndex = "model.safetensors.index.json";

std::string opening_with_changed_index(const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json index = nlohmann::json::parse(test::read_file(kMicro / kIndex));
  change(index["weight_map"]);
  return opening_with(kIndex, index.dump());
}

TEST(CheckpointReader, IndexAndShardsMustAgree) {
  EXPECT_EQ(opening_with_changed_index([](auto&) {}), "(opened)");
  EXPECT_THAT(opening_with_changed_index(
                  [](auto& map) { map["x.weight"] = "model-00001-of-00002.safetensors"; }),
              AllOf(HasSubstr("model-00001-of-00002.safetensors does not hold \"x.weight\"")));
  EXPECT_THAT(
      opening_with_changed_index([](auto& map) { map.erase("lm_head.weight"); }),
      HasSubstr("holds \"lm_head.weight\", which model.safetensors.index.json does not list"));
  EXPECT_THAT(opening_with_changed_index(
                  [](auto& map) { map["lm_head.weight"] = "model-00001-of-00002.safetensors"; }),
              HasSubstr("places in model-00001-of-00002.safetensors"));
  EXPECT_THAT(opening_with_changed_index(
                  [](auto& map) { map["x.weight"] = "model-00003-of-00002.safetensors"; }),
              HasSubstr("shard model-00003-of-00002.safetensors is missing"));
  EXPECT_THAT(opening_with("model-00002-of-00002.safetensors", std::nullopt),
              HasSubstr("shard model-00002-of-00002.safetensors is missing"));
  EXPECT_THAT(opening_with("model-00002-of-00002.safetensors", "short"),
              HasSubstr("model-00002-of-00002.safetensors: 5 bytes are too few"));
}

TEST(CheckpointReader, ShardsStayInTheFolder) {
  for (const char* file :
       {"../model.safetensors", "/etc/passwd", "..", ".", "", "sub/model.safetensors", "a\\b"}) {
    EXPECT_THAT(opening_with_changed_index([file](auto& map) { map["lm_head.weight"] = file; }),
                AllOf(HasSubstr("lm_head.weight"), HasSubstr("file in this folder")))
        << file;
  }
  EXPECT_THAT(
      opening_with_changed_index([](auto& map) { map["lm_head.weight"] = std::string("a\0b", 3); }),
      HasSubstr("file in this folder"));
  EXPECT_THAT(opening_with_changed_index([](auto& map) { map["lm_head.weight"] = 3; }),
              HasSubstr("file in this folder"));
}

// The files are 0.3 MB: nobody may take memory for what such a config describes.
TEST(CheckpointReader, ConfigsFarLargerThanTheFilesAreRefusedAtOnce) {
  nlohmann::json config = nlohmann::json::parse(test::read_file(kMicro / "config.json"));
  config["hidden_size"] = 16384;
  EXPECT_THAT(opening_with("config.json", config.dump()),
              AllOf(HasSubstr("config.json describes"), HasSubstr("parameters")));
  config["hidden_size"] = 32;
  config["num_hidden_layers"] = 9000;
  EXPECT_THAT(opening_with("config.json", config.dump()), HasSubstr("config.json describes"));
}

TEST(CheckpointReader, FoldersThatAreNoCheckpoints) {
  EXPECT_THAT(opening_with("config.json", std::nullopt), HasSubstr("holds no config.json"));
  EXPECT_THAT(opening_with(kIndex, std::nullopt), HasSubstr("holds neither model.safetensors nor"));
  EXPECT_THAT(opening_with(kIndex, "{}"), HasSubstr("weight_map"));
  EXPECT_THAT(opening_with(kIndex, R"({"weight_map":{}})"), HasSubstr("empty"));
  EXPECT_THAT(opening_with(kIndex, "[]"), HasSubstr("weight_map"));
  EXPECT_THAT(opening_with(kIndex, "{"), HasSubstr("not JSON"));
  EXPECT_THAT(CheckpointReader::open("/nonexistent").error().message, HasSubstr("not a folder"));
  EXPECT_THAT(CheckpointReader::open(kMicro / "config.json").error().message,
              HasSubstr("not a folder"));
}

}  // namespace
}  // namespace sluice::store
