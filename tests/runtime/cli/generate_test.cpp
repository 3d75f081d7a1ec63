// From text to text through the program: train with a tokenizer, JSONL, fill-in-the-middle and any
// prediction depth, in both recipes, then generate from the checkpoint: the same tokens from every
// layout, reproducible draws, streamed text equal to the JSON's.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kTokenizers = std::string(SLUICE_TEST_DATA) + "/tokenizer/";

std::vector<std::string> generate_arguments(const fs::path& checkpoint, const std::string& prompt,
                                            const std::vector<std::string>& more = {}) {
  std::vector<std::string> out{"generate", checkpoint.string(), "--prompt",
                               prompt,     "--max-tokens",      "24"};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

nlohmann::json generated(const fs::path& checkpoint, const std::string& prompt,
                         std::vector<std::string> more = {}) {
  more.emplace_back("--json");
  const ChildResult result = run_program(generate_arguments(checkpoint, prompt, more));
  EXPECT_EQ(result.exit_code, 0) << describe(result);
  return nlohmann::json::parse(result.out, nullptr, false);
}

class Generate : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const ChildResult trained = run_.train(
        "run", {std::string("precision.recipe=") + GetParam(), "train.steps=40",
                "train.validation_every=0", "train.constant_steps=40", "train.sequence_length=32"});
    ASSERT_EQ(trained.exit_code, 0) << describe(trained);
  }
  [[nodiscard]] fs::path checkpoint() const { return run_.directory("run"); }

  SmallRun run_;
};

INSTANTIATE_TEST_SUITE_P(Recipes, Generate, testing::Values("fp32", "bf16"),
                         [](const auto& info) { return info.param; });

TEST_P(Generate, TheSameTokensFromEveryLayout) {
  const std::string recipe = std::string("precision.recipe=") + GetParam();
  const auto base = generated(checkpoint(), "Line 3: the", {"--set", recipe});
  ASSERT_EQ(base["tokens"].size(), 24u);
  for (const int stages : {1, 2, 3}) {
    for (const int groups : {1, 4}) {
      const auto other = generated(
          checkpoint(), "Line 3: the",
          {"--set", recipe, "--set", fmt::format("topology.pipeline_parallel_size={}", stages),
           "--set", fmt::format("topology.expert_parallel_size={}", groups)});
      EXPECT_EQ(other["tokens"], base["tokens"]) << stages << " stages, " << groups << " groups";
    }
  }
}

TEST_P(Generate, StreamsTheTextOfTheJson) {
  const auto json = generated(checkpoint(), "Line");
  const ChildResult streamed = run_program(generate_arguments(checkpoint(), "Line"));
  ASSERT_EQ(streamed.exit_code, 0) << describe(streamed);
  EXPECT_EQ(streamed.out, "Line" + json["text"].get<std::string>() + "\n");
}

TEST_P(Generate, DrawsByTheSeed) {
  const std::vector<std::string> draw{"--temperature", "1.5", "--top-p", "0.95", "--seed"};
  const auto with_seed = [&](const char* seed) {
    std::vector<std::string> more = draw;
    more.emplace_back(seed);
    return generated(checkpoint(), "Line", more)["tokens"];
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
  const auto greedy = generated(checkpoint(), "Line")["tokens"];
  EXPECT_NE(with_seed("1"), greedy);
  // Where one token alone has the share, draws are greedy.
  EXPECT_EQ(
      generated(checkpoint(), "Line", {"--temperature", "1", "--top-p", "0.000001"})["tokens"],
      greedy);
}

TEST_P(Generate, AnEmptyPromptAndOneWithoutRoom) {
  EXPECT_EQ(generated(checkpoint(), "")["prompt_tokens"].size(), 1u);  // the token of a beginning
  const ChildResult result = run_program(generate_arguments(checkpoint(), std::string(600, 'x')));
  EXPECT_EQ(result.exit_code, 2) << describe(result);
  EXPECT_THAT(result.error, HasSubstr("512 positions"));
  EXPECT_EQ(result.out, "");
}

// ---- Kinds of data and model ----

TEST(TrainOn, ATokenizerFileThatTheCheckpointCarries) {
  for (const char* name : {"deepseek_like", "gpt2_like", "llama2_like"}) {
    const SmallRun run;
    const std::string source = kTokenizers + name;
    const ChildResult trained =
        run.train("run", {"data.tokenizer=" + source, "model.vocab_size=4352"});
    ASSERT_EQ(trained.exit_code, 0) << name << describe(trained);
    const fs::path checkpoint = run.directory("run") / "checkpoints" / "step-00000008";
    EXPECT_EQ(read_file(checkpoint / "tokenizer.json"), read_file(source + "/tokenizer.json"));
    EXPECT_EQ(read_file(checkpoint / "tokenizer_config.json"),
              read_file(source + "/tokenizer_config.json"));
    // Whoever generates with the config.json stops at the tokenizer's own end of text.
    const auto config = nlohmann::json::parse(read_file(checkpoint / "config.json"));
    EXPECT_NE(config["eos_token_id"], 257) << name;
    const auto json = generated(checkpoint, "The actor sends");
    EXPECT_EQ(json["tokens"].size() + (json["ended"] ? 24 - json["tokens"].size() : 0), 24u);
    // A word is a token of several letters there, not four bytes.
    EXPECT_LT(json["prompt_tokens"].size(), 12u);
  }
}

TEST(TrainOn, JsonLinesAndFillInTheMiddle) {
  const SmallRun run;
  std::string lines;
  for (int i = 0; i < 200; ++i)
    lines +=
        fmt::format("{{\"id\": {}, \"text\": \"document {} of this \\u00fcber corpus\"}}\n", i, i);
  const std::string path = run.folder().write("data.jsonl", lines).string();
  const ChildResult trained = run.train(
      "run", {"data.paths=[\"" + path + "\"]", "data.fim_rate=0.5",
              "data.tokenizer=" + kTokenizers + "deepseek_like", "model.vocab_size=4352"});
  ASSERT_EQ(trained.exit_code, 0) << describe(trained);
  EXPECT_THAT(trained.out, HasSubstr("in 200 documents"));
  const ChildResult bytes =
      run.train("bytes", {"data.paths=[\"" + path + "\"]", "data.fim_rate=1"});
  ASSERT_EQ(bytes.exit_code, 0) << describe(bytes);
}

TEST(TrainOn, AnyPredictionDepth) {
  const SmallRun run;
  for (int depth = 0; depth <= 3; ++depth) {
    const std::string name = fmt::format("depth{}", depth);
    const ChildResult trained = run.train(name, {fmt::format("model.mtp_depth={}", depth)});
    ASSERT_EQ(trained.exit_code, 0) << describe(trained);
    const auto line = nlohmann::json::parse(metrics_of(run.directory(name)).front());
    EXPECT_EQ(line["mtp"].size(), static_cast<std::size_t>(depth));
    EXPECT_EQ(line["max_violation"].size(), static_cast<std::size_t>(2 + depth));
    EXPECT_EQ(generated(run.directory(name), "Line")["tokens"].size(), 24u);
  }
}

}  // namespace
}  // namespace sluice::test
