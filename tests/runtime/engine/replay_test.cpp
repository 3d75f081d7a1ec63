// Recordings of small training runs, run again: by other kernels, in part, and when one bit of what
// a kernel computed was another.
#include "runtime/engine/replay.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/store/safetensors.hpp"
#include "runtime/trace/compare.hpp"
#include "tests/runtime/engine/recording_support.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::engine {
namespace {

using actors::Topic;
using testing::HasSubstr;
using trace::Payloads;

class ReplayTest : public testing::Test {
 protected:
  [[nodiscard]] Result<ReplayReport> replay(std::vector<std::string> sets = {},
                                            std::string actor = "", std::string until = "",
                                            bool dump = false) const {
    ReplayOptions options;
    options.directory = folder_.path();
    options.sets = std::move(sets);
    options.actor = std::move(actor);
    options.until = std::move(until);
    if (dump) options.dump = folder_ / "dump";
    return engine::replay(options);
  }
  static void expect_identical(const Result<ReplayReport>& report) {
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_FALSE(report->difference) << to_string(*report->difference, "recorded", "replayed");
    EXPECT_TRUE(report->closed);
    EXPECT_GT(report->progress.messages, 100);
  }
  test::TemporaryFolder folder_;
};

TEST_F(ReplayTest, EveryKernelSetAndThreadCountGivesTheSame) {
  ASSERT_TRUE(record(folder_.path(), Payloads::kNone));
  for (const kernels::Isa isa : kernels::available_isas()) {
    for (const char* threads : {"1", "3"}) {
      const auto report = replay(
          {fmt::format("device.isa={}", name_of(isa)), fmt::format("device.threads={}", threads)});
      expect_identical(report);
      EXPECT_EQ(report->kernel_set, name_of(isa));
      EXPECT_EQ(report->progress.steps, 3);
      EXPECT_EQ(report->actors.size(), 9U);  // all but source, checkpointer and channels
    }
  }
}

TEST_F(ReplayTest, EveryScheduleIsRunAgain) {
  for (const char* schedule :
       {"gpipe", "interleaved_1f1b", "zb1p", "zbv", "dualpipe", "dualpipev"}) {
    ASSERT_TRUE(record(folder_.path(), Payloads::kNone,
                       {"train.global_batch_size=4", std::string("schedule.name=") + schedule}));
    expect_identical(replay());
  }
}

TEST_F(ReplayTest, BfloatIsTheSameOnItsOwnKernels) {
  ASSERT_TRUE(
      record(folder_.path(), Payloads::kNone, {"precision.recipe=bf16", "device.isa=auto"}));
  expect_identical(replay());
}

TEST_F(ReplayTest, AFlippedBitOfAKernelIsNamed) {
  const Flip flip{"experts 1.0", {2, 1, 3, Topic::kCombine, 0}};
  ASSERT_TRUE(record(folder_.path(), Payloads::kAll, {}, 1, flip));
  const auto report = replay();
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_TRUE(report->difference);
  const trace::Difference& d = *report->difference;
  EXPECT_EQ(d.actor, "experts 1.0");
  EXPECT_EQ(d.message, "combine of step 2, micro-batch 1, layer 3");
  EXPECT_EQ(d.field, "sums.rows");
  EXPECT_EQ(d.element, "[2, 7]");
  EXPECT_EQ(d.elements_differ, 1);
  EXPECT_NE(d.here, d.there);
  EXPECT_LT(d.distance_max, 1e-6);  // the last bit of its mantissa
  EXPECT_GT(report->progress.messages, 100);

  // Alone, the actor shows it too; its neighbours, which computed on what it sent, do not.
  EXPECT_TRUE(replay({}, "experts 1.0")->difference);
  EXPECT_FALSE(replay({}, "experts 1.1")->difference);
  EXPECT_FALSE(replay({}, "stage 1")->difference);
}

TEST_F(ReplayTest, WithoutElementsTheTensorIsNamed) {
  ASSERT_TRUE(record(folder_.path(), Payloads::kNone, {}, 1,
                     Flip{"experts 0.1", {1, 0, 2, Topic::kCombine, 1}}));
  const auto report = replay();
  ASSERT_TRUE(report && report->difference);
  EXPECT_EQ(report->difference->actor, "experts 0.1");
  EXPECT_EQ(report->difference->field, "sums.rows");
  EXPECT_EQ(report->difference->element, "");
  EXPECT_THAT(report->difference->here, HasSubstr("digest "));
}

// Who runs with an actor follows from what the log holds.
TEST_F(ReplayTest, OneActorRunsWithThoseThatTheLogCannotReplace) {
  ASSERT_TRUE(record(folder_.path(), Payloads::kAll));
  auto report = replay({}, "stage 1");
  expect_identical(report);
  EXPECT_EQ(report->actors, std::vector<std::string>{"stage 1"});

  ASSERT_TRUE(record(folder_.path(), Payloads::kBoundary));
  report = replay({}, "stage 1");
  expect_identical(report);
  EXPECT_EQ(report->actors, (std::vector<std::string>{"stage 1", "experts 1.0", "experts 1.1"}));
  EXPECT_EQ(replay({}, "sink")->actors, std::vector<std::string>{"sink"});

  ASSERT_TRUE(record(folder_.path(), Payloads::kNone));
  report = replay({}, "stage 1");
  expect_identical(report);
  EXPECT_EQ(report->actors.size(), 6U);  // both stages with their experts
}

TEST_F(ReplayTest, StopsBeforeAMessageAndWritesWhatIsThere) {
  ASSERT_TRUE(record(folder_.path(), Payloads::kAll));
  const auto report = replay({}, "stage 1", "combine of step 2, micro-batch 1, layer 3", true);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->stopped_before,
              HasSubstr("combine of step 2, micro-batch 1, layer 3 from experts 1."));
  EXPECT_EQ(report->progress.steps, 2);
  EXPECT_EQ(report->dumped.size(), 5U);

  const auto message = store::SafetensorsFile::open(folder_ / "dump/message.safetensors");
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_TRUE(message->contains("sums.rows"));
  EXPECT_TRUE(message->contains("sums.token"));
  const auto parameters = store::SafetensorsFile::open(folder_ / "dump/parameters.safetensors");
  ASSERT_TRUE(parameters);
  EXPECT_TRUE(parameters->contains("model.layers.3.self_attn.o_proj.weight"));
  EXPECT_TRUE(parameters->contains("gradient.model.layers.3.self_attn.o_proj.weight"));
  EXPECT_FALSE(parameters->contains("model.layers.0.self_attn.o_proj.weight"));
  const auto inputs = store::SafetensorsFile::open(folder_ / "dump/inputs.safetensors");
  ASSERT_TRUE(inputs);
  EXPECT_TRUE(inputs->contains("activation of step 2, micro-batch 1, layer 3 from stage 0: rows"));
  EXPECT_FALSE(inputs->contains("activation of step 1, micro-batch 1, layer 3 from stage 0: rows"));

  const auto outputs = store::SafetensorsFile::open(folder_ / "dump/outputs.safetensors");
  ASSERT_TRUE(outputs);
  EXPECT_TRUE(std::any_of(outputs->tensors().begin(), outputs->tensors().end(), [](const auto& e) {
    return e.name.starts_with("dispatch of step 2, micro-batch 1, layer 3 to channel stage 1 ->");
  }));
  std::ifstream text(folder_ / "dump/dump.json");
  const auto summary = nlohmann::json::parse(text);
  EXPECT_EQ(summary["actor"], "stage 1");
  EXPECT_EQ(summary["stopped_before"], report->stopped_before);
  EXPECT_EQ(summary["files"]["message.safetensors"]["sums.rows"]["dtype"], "F32");
  EXPECT_GT(summary["received_in_this_step"].size(), 2U);
  EXPECT_GT(summary["sent_in_this_step"].size(), 2U);

  // Where it is asked to go on, it does so to the end.
  ReplayOptions options;
  options.directory = folder_.path();
  options.actor = "stage 1";
  options.until = "#20";
  std::string seen;
  options.on_stop = [&seen](const std::string& at) {
    seen = at;
    return true;
  };
  const auto whole = engine::replay(options);
  expect_identical(whole);
  EXPECT_EQ(whole->stopped_before, seen);
  EXPECT_NE(seen, "");
}

// Two recordings of one run in other orders say the same; with a bit flipped in one, it is named.
TEST_F(ReplayTest, RecordingsAreComparedWhateverTheOrder) {
  ASSERT_TRUE(record(folder_ / "a", Payloads::kAll, {}, 1));
  ASSERT_TRUE(record(folder_ / "b", Payloads::kAll, {"device.isa=auto", "train.steps=2"}, 99));
  auto same = trace::compare_recordings(folder_ / "a", folder_ / "b");
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_FALSE(same->difference) << to_string(*same->difference, "in a", "in b");
  EXPECT_GT(same->messages, 200);
  EXPECT_EQ(same->only_there, 0);
  EXPECT_NEAR(static_cast<double>(same->only_here) / static_cast<double>(same->messages), 0.5,
              0.02);

  const Flip flip{"experts 1.0", {2, 1, 3, Topic::kCombine, 0}};
  ASSERT_TRUE(record(folder_ / "b", Payloads::kAll, {}, 5, flip));
  const auto flipped = trace::compare_recordings(folder_ / "a", folder_ / "b");
  ASSERT_TRUE(flipped && flipped->difference);
  EXPECT_EQ(flipped->difference->actor, "experts 1.0");
  EXPECT_EQ(flipped->difference->receiver, "stage 1");
  EXPECT_EQ(flipped->difference->message, "combine of step 2, micro-batch 1, layer 3");
  EXPECT_EQ(flipped->difference->element, "[2, 7]");
  EXPECT_EQ(flipped->difference->elements_differ, 1);
}

// In another layout actors of the same name still say some of the same.
TEST_F(ReplayTest, RecordingsOfOtherPlansAreCompared) {
  ASSERT_TRUE(record(folder_ / "a", Payloads::kNone));
  ASSERT_TRUE(record(folder_ / "b", Payloads::kNone, {"topology.expert_parallel_size=4"}));
  const auto other = trace::compare_recordings(folder_ / "a", folder_ / "b");
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_NE(other->here.plan_digest, other->there.plan_digest);
  EXPECT_GT(other->messages, 20);
}

TEST_F(ReplayTest, WhatCannotBeIsSaid) {
  ASSERT_TRUE(record(folder_.path(), Payloads::kNone));
  const auto message = [&](auto&&... what) {
    const auto report = replay(what...);
    EXPECT_FALSE(report);
    return report ? "" : report.error().message;
  };
  using Sets = std::vector<std::string>;
  EXPECT_THAT(message(Sets{}, "stage 7"), HasSubstr("stage 0, experts 0.0"));
  EXPECT_THAT(message(Sets{}, "source"), HasSubstr("works on files"));
  EXPECT_THAT(message(Sets{}, "sink", "combine of step 1"), HasSubstr("got no message"));
  EXPECT_THAT(message(Sets{}, "experts 1.0", "combine of step 1, micro-batch 0, layer 3"),
              HasSubstr("before that it got \"dispatch of step 1, micro-batch 0, layer 3 from "));
  EXPECT_THAT(message(Sets{}, "sink", "combine step"), HasSubstr("not understood"));
  EXPECT_THAT(message(Sets{"train.seed=6"}), HasSubstr("train.seed"));
  EXPECT_THAT(message(Sets{"topology.pipeline_parallel_size=1"}), HasSubstr("plan"));
}

}  // namespace
}  // namespace sluice::engine
