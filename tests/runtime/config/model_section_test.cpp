// [model]: the path of config.json, the overrides, and what the run asks of the architecture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/config/config.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kModel =
    R"({"model_type":"deepseek_v3","vocab_size":96,"hidden_size":32,"num_hidden_layers":3,
  "num_attention_heads":2,"num_key_value_heads":2,"n_routed_experts":8,"n_group":4,"topk_group":2,"num_experts_per_tok":2})";

TEST(ModelSection, PathIsLookedUpBesideTheFileThenFromHere) {
  test::TemporaryFolder folder;
  folder.write("models/m.json", kModel);
  const auto file = folder.write(
      "run.toml",
      "[model]\nconfig = \"models/m.json\"\nhidden_size = 64\nmtp_depth = 2\nrope_theta = 5000\n");
  const auto config = load_config(file, {});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->model.config, "models/m.json");
  EXPECT_EQ(model_path(*config), folder.path() / "models/m.json");
  const auto model = load_model(*config);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->hidden_size, 64);
  EXPECT_EQ(model->vocab_size, 96);
  EXPECT_EQ(model->num_nextn_predict_layers, 2);
  EXPECT_EQ(model->rope_theta, 5000);
  const std::vector<std::string> sets{"model.config=models/m.json"};
  EXPECT_EQ(model_path(*load_config(file, sets)),
            "models/m.json");  // --set: as the shell's user means it
}

TEST(ModelSection, ErrorsSayWhichKeyLedThere) {
  test::TemporaryFolder folder;
  folder.write("m.json", "{\"model_type\": \"llama\"}");
  folder.write("good.json", kModel);
  const auto message = [&](const std::string& toml) {
    const auto config = load_config(folder.write("run.toml", toml), {});
    SLUICE_CHECK(config.has_value(), "{}", config.error().message);
    const auto model = load_model(*config);
    return model ? std::string("(accepted)") : model.error().message;
  };
  EXPECT_THAT(message(""), HasSubstr("model.config names no config.json"));
  EXPECT_THAT(message("[model]\nconfig = \"none.json\""),
              AllOf(HasSubstr("run.toml:2: model.config"), HasSubstr("none.json")));
  EXPECT_THAT(message("[model]\nconfig = \"m.json\""),
              AllOf(HasSubstr("model.config"), HasSubstr("llama")));
  EXPECT_THAT(message("[model]\nconfig = \"good.json\"\nn_group = 3"),
              AllOf(HasSubstr("[model]"), HasSubstr("n_group 3")));
  EXPECT_EQ(message("[model]\nconfig = \"good.json\""), "(accepted)");
}

TEST(ModelSection, RunsMustFitTheModel) {
  const auto config_with = [](const std::vector<std::string>& sets) {
    return *parse_config("", "run.toml", sets);
  };
  model::ModelConfig model;
  model.num_hidden_layers = 3;
  model.n_routed_experts = 8;
  model.max_position_embeddings = 512;
  EXPECT_TRUE(check_model(
      config_with({"topology.pipeline_parallel_size=3", "topology.expert_parallel_size=8"}),
      model));
  EXPECT_THAT(
      check_model(config_with({"topology.pipeline_parallel_size=4"}), model).error().message,
      AllOf(StartsWith("--set topology.pipeline_parallel_size is 4"), HasSubstr("3 layers")));
  EXPECT_THAT(check_model(config_with({"topology.expert_parallel_size=3"}), model).error().message,
              HasSubstr("does not divide the model's 8 routed experts"));
  EXPECT_THAT(check_model(config_with({"train.sequence_length=513"}), model).error().message,
              HasSubstr("max_position_embeddings 512"));
}

}  // namespace
}  // namespace sluice::config
