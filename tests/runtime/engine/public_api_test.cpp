// The embedding API as a stranger uses it: through libsluice.so, with sluice/*.hpp alone.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sluice/engine.hpp>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.hpp"

namespace {

namespace fs = std::filesystem;

class PublicApi : public testing::Test {
 protected:
  PublicApi() {
    std::ofstream text(folder_.path() / "text.txt");
    for (int i = 0; i < 400; ++i) text << "line " << i << " of a text to learn from\n";
  }

  // A model of one dense and one MoE layer, 3 steps of 64 tokens.
  sluice::TrainRequest small_run() const {
    sluice::TrainRequest request;
    request.settings = {std::string("model.config=") + SLUICE_CONFIGS + "/models/quickstart.json",
                        "model.num_hidden_layers=2",
                        "model.hidden_size=32",
                        "model.intermediate_size=48",
                        "model.moe_intermediate_size=16",
                        "train.steps=3",
                        "train.sequence_length=32",
                        "train.global_batch_size=2",
                        "train.validation_samples=2",
                        "train.warmup_steps=1",
                        "device.threads=1",
                        "data.paths=" + (folder_.path() / "text.txt").string(),
                        "data.cache_directory=" + (folder_.path() / "tokens").string(),
                        "run.directory=" + (folder_.path() / "run").string()};
    return request;
  }

  sluice::test::TemporaryFolder folder_;
};

TEST_F(PublicApi, TrainsThenGeneratesTheSameTextInPiecesAndWhole) {
  sluice::TrainRequest request = small_run();
  std::vector<sluice::TrainProgress> seen;
  request.on_step = [&](const sluice::TrainProgress& progress) {
    seen.push_back(progress);
    return true;
  };
  const auto run = sluice::train(request);
  ASSERT_TRUE(run.ok()) << run.failure().message;
  EXPECT_TRUE(run->complete);
  EXPECT_EQ(run->steps_done, 3);
  ASSERT_EQ(run->losses.size(), 3u);
  ASSERT_EQ(seen.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen[i].step, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(seen[i].loss, run->losses[i]);
    EXPECT_EQ(seen[i].mtp_loss.size(), 1u);
    EXPECT_GT(seen[i].gradient_norm, 0);
  }
  EXPECT_LT(run->losses[2], run->losses[0]);
  EXPECT_GT(run->unigram_loss, 0);
  ASSERT_TRUE(run->validation_loss.has_value());

  auto engine = sluice::Engine::load({run->checkpoint, 64, {"device.threads=1"}});
  ASSERT_TRUE(engine.ok()) << engine.failure().message;
  sluice::GenerateRequest ask;
  ask.prompt = "line 1";
  ask.max_tokens = 12;
  ask.stop_at_end = false;
  std::string pieces;
  ask.on_text = [&](std::string_view piece) { pieces += piece; };
  const auto first = engine->generate(ask);
  ASSERT_TRUE(first.ok()) << first.failure().message;
  EXPECT_EQ(first->tokens.size(), 12u);
  EXPECT_EQ(pieces, first->text);
  sluice::Engine moved = std::move(*engine);
  const auto second = moved.generate(ask);
  ASSERT_TRUE(second.ok()) << second.failure().message;
  EXPECT_EQ(second->tokens, first->tokens);
}

TEST_F(PublicApi, StopsWhenTheCallbackSaysSoAndGoesOn) {
  const auto whole = sluice::train(small_run());
  ASSERT_TRUE(whole.ok()) << whole.failure().message;
  fs::remove_all(folder_.path() / "run");

  sluice::TrainRequest request = small_run();
  request.settings.push_back("train.steps=1000000");
  request.on_step = [](const sluice::TrainProgress&) { return false; };
  const auto stopped = sluice::train(request);
  ASSERT_TRUE(stopped.ok()) << stopped.failure().message;
  EXPECT_FALSE(stopped->complete);
  EXPECT_EQ(stopped->steps_done, static_cast<std::int64_t>(stopped->losses.size()));
  EXPECT_TRUE(fs::exists(fs::path(stopped->checkpoint) / "config.json"));
  EXPECT_EQ(stopped->losses[0], whole->losses[0]);

  request.settings.back() = "train.steps=" + std::to_string(stopped->steps_done + 2);
  request.on_step = {};
  request.resume = true;
  const auto resumed = sluice::train(request);
  ASSERT_TRUE(resumed.ok()) << resumed.failure().message;
  EXPECT_TRUE(resumed->complete);
  EXPECT_EQ(resumed->losses.size(), 2u);
}

TEST_F(PublicApi, FailuresSayWhatWhereAndWhose) {
  using Kind = sluice::Failure::Kind;
  sluice::TrainRequest request = small_run();
  request.settings.push_back("train.stepz=3");
  const auto unknown_key = sluice::train(request);
  ASSERT_FALSE(unknown_key.ok());
  EXPECT_EQ(unknown_key.failure().kind, Kind::kInvalidInput);
  EXPECT_NE(unknown_key.failure().message.find("train.steps"), std::string::npos);

  const auto nothing = sluice::Engine::load({(folder_.path() / "nowhere").string(), 0, {}});
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.failure().kind, Kind::kInvalidInput);
  EXPECT_NE(nothing.failure().message.find("nowhere"), std::string::npos);

  const auto run = sluice::train(small_run());
  ASSERT_TRUE(run.ok()) << run.failure().message;
  auto engine = sluice::Engine::load({run->checkpoint, 16, {}});
  ASSERT_TRUE(engine.ok()) << engine.failure().message;
  for (const auto& [tokens, temperature, top_p] :
       {std::tuple{0L, 0.0, 1.0}, {17L, 0.0, 1.0}, {4L, -1.0, 1.0}, {4L, 1.0, 1.5}}) {
    sluice::GenerateRequest ask;
    ask.prompt = "a";
    ask.max_tokens = tokens;
    ask.temperature = temperature;
    ask.top_p = top_p;
    const auto refused = engine->generate(ask);
    ASSERT_FALSE(refused.ok()) << tokens << " " << temperature << " " << top_p;
    EXPECT_EQ(refused.failure().kind, Kind::kInvalidInput);
  }
  sluice::GenerateRequest ask;  // a refusal leaves the engine as it was
  ask.prompt = "a";
  ask.max_tokens = 4;
  EXPECT_TRUE(engine->generate(ask).ok());
}

}  // namespace
