// Runs recorded by the program and run again by it: whole, killed, cut, changed, gone on with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kSpread{"topology.pipeline_parallel_size=2",
                                       "topology.expert_parallel_size=2", "schedule.run_ahead=2"};

class ReplayProgram : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> record_arguments(const std::string& name,
                                                          std::vector<std::string> sets,
                                                          const std::string& payloads = "none",
                                                          bool resume = false) const {
    sets.insert(sets.end(), kSpread.begin(), kSpread.end());
    std::vector<std::string> out = run_.train_arguments(name, sets, resume);
    out.insert(out.end(), {"--record", recording(name), "--payloads", payloads});
    return out;
  }
  [[nodiscard]] std::string recording(const std::string& name) const {
    return (run_.directory(name) / "recording").string();
  }
  [[nodiscard]] std::filesystem::path log(const std::string& name) const {
    return std::filesystem::path(recording(name)) / "process-0.log";
  }
  void record(const std::string& name, const std::vector<std::string>& sets = {},
              const std::string& payloads = "none", bool resume = false) const {
    const ChildResult result = run_program(record_arguments(name, sets, payloads, resume));
    ASSERT_EQ(result.exit_code, 0) << describe(result);
    EXPECT_THAT(result.out, HasSubstr("sluice replay " + recording(name)));
  }
  [[nodiscard]] ChildResult replay(const std::string& name,
                                   std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"replay", recording(name)});
    return run_program(more);
  }
  void expect_identical(const ChildResult& result) const {
    EXPECT_EQ(result.exit_code, 0) << describe(result);
    EXPECT_THAT(result.out, HasSubstr("identical ("));
  }
  SmallRun run_;
};

TEST_F(ReplayProgram, IsIdenticalOnOtherKernels) {
  record("one");
  expect_identical(replay("one"));
  const ChildResult reference = replay("one", {"--set", "device.isa=reference", "--json"});
  ASSERT_EQ(reference.exit_code, 0) << describe(reference);
  const auto json = nlohmann::json::parse(reference.out);
  EXPECT_TRUE(json.at("identical").get<bool>());
  EXPECT_TRUE(json.at("closed").get<bool>());
  EXPECT_EQ(json.at("replayed_with"), "reference");
  EXPECT_GT(json.at("messages").get<int>(), 500);
  EXPECT_GT(json.at("tensors").get<int>(), 500);
  EXPECT_EQ(json.at("steps").get<int>(), 8 + 3);  // and validations after 3, 6, 8
}

// The recorded run gives the bits of one that is not recorded.
TEST_F(ReplayProgram, RecordingChangesNothing) {
  record("recorded", {}, "all");
  ASSERT_EQ(run_.train("plain", kSpread).exit_code, 0);
  EXPECT_EQ(files_of(run_.directory("recorded") / "checkpoints" / "step-00000008"),
            files_of(run_.directory("plain") / "checkpoints" / "step-00000008"));
}

TEST_F(ReplayProgram, KilledAtAnyMomentItIsIdenticalUpToThere) {
  for (int kill = 0; kill < 10; ++kill) {
    const std::string payloads = kill % 3 == 0 ? "all" : kill % 3 == 1 ? "boundary" : "none";
    ChildProcess child =
        ChildProcess::start(program(record_arguments("killed", {"train.steps=5000"}, payloads)));
    ASSERT_TRUE(child.wait_for_output("step 1/5000"));
    std::this_thread::sleep_for(std::chrono::milliseconds(7 * kill));
    child.send_signal(SIGKILL);
    ASSERT_EQ(child.wait().signal_number, SIGKILL);
    const ChildResult result = replay("killed");
    expect_identical(result);
    EXPECT_THAT(result.out, HasSubstr("not closed"));
  }
}

TEST_F(ReplayProgram, CutAnywhereItIsIdenticalUpToThere) {
  record("cut", {"train.steps=2"});
  const auto whole = std::filesystem::file_size(log("cut"));
  for (int i = 9; i >= 2; --i) {
    std::filesystem::resize_file(log("cut"), whole * static_cast<unsigned>(i) / 10 + 3);
    expect_identical(replay("cut"));
  }
  std::filesystem::resize_file(log("cut"), 20);
  const ChildResult nothing = replay("cut");
  EXPECT_EQ(nothing.exit_code, 1) << describe(nothing);
  EXPECT_THAT(nothing.error, HasSubstr("ends before its header"));
}

TEST_F(ReplayProgram, AChangedLogIsNamedWithItsByte) {
  record("changed", {"train.steps=2"});
  const auto whole = std::filesystem::file_size(log("changed"));
  for (int i = 1; i < 10; ++i) {
    const auto at = static_cast<std::streamoff>(whole * static_cast<unsigned>(i) / 10);
    std::fstream file(log("changed"), std::ios::in | std::ios::out | std::ios::binary);
    char byte = 0;
    file.seekg(at).read(&byte, 1);
    const char flipped = static_cast<char>(byte ^ 4);
    file.seekp(at).write(&flipped, 1).flush();
    const ChildResult result = replay("changed");
    file.seekp(at).write(&byte, 1).flush();
    if (result.exit_code == 0) continue;  // it was padding
    EXPECT_EQ(result.exit_code, 1) << describe(result);
    EXPECT_THAT(result.error, HasSubstr("the record at byte "));
    EXPECT_THAT(result.error, HasSubstr("process-0.log"));
  }
  expect_identical(replay("changed"));
}

// The weights it began with are in the recording: the run's own checkpoints move on.
TEST_F(ReplayProgram, OfARunThatWentOnFromACheckpoint) {
  ASSERT_EQ(run_.train("long", {"train.steps=4"}).exit_code, 0);
  record("long", {"train.steps=8", "checkpoint.every_steps=1", "checkpoint.keep=1"}, "none", true);
  EXPECT_FALSE(std::filesystem::exists(run_.directory("long") / "checkpoints" / "step-00000004"));
  expect_identical(replay("long"));
  expect_identical(replay("long", {"--actor", "stage 1"}));
}

TEST_F(ReplayProgram, OneActorUpToAMessage) {
  record("one", {}, "all");
  const std::string dump = (run_.directory("one") / "dump").string();
  const ChildResult result = replay("one", {"--actor", "experts 1.0", "--until",
                                            "dispatch of step 2, micro-batch 1", "--dump", dump});
  ASSERT_EQ(result.exit_code, 0) << describe(result);
  EXPECT_THAT(result.out, HasSubstr("ran experts 1.0\n"));
  EXPECT_THAT(result.out, HasSubstr("stopped before dispatch of step 2, micro-batch 1, layer "));
  EXPECT_TRUE(std::filesystem::exists(dump + "/message.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(dump + "/parameters.safetensors"));
  EXPECT_EQ(replay("one", {"--until", "dispatch"}).exit_code, 2);
  EXPECT_EQ(replay("one", {"--actor", "nobody"}).exit_code, 2);
  EXPECT_EQ(replay("two").exit_code, 2);
}

TEST_F(ReplayProgram, ComparesTwoRecordings) {
  record("one", {}, "all");
  record("two", {"device.isa=reference"}, "all");
  record("three", {"train.learning_rate=0.02"}, "all");
  const ChildResult same = run_program({"replay", "--compare", recording("one"), recording("two")});
  expect_identical(same);
  const ChildResult other =
      run_program({"replay", "--compare", recording("one"), recording("three")});
  EXPECT_EQ(other.exit_code, 1) << describe(other);
  EXPECT_THAT(other.out, HasSubstr("reducer: update of step 1"));
  EXPECT_THAT(other.out, HasSubstr("differs in learning_rate"));
}

// A full disk ends the recording, not the run.
TEST_F(ReplayProgram, AFullDiskEndsTheRecordingOnly) {
  ChildOptions options;
  options.file_bytes_max = 8 << 20;
  const ChildResult result = run_program(
      record_arguments("full", {"train.steps=200", "train.validation_every=0"}, "all"), options);
  ASSERT_EQ(result.exit_code, 0) << describe(result);
  EXPECT_THAT(result.out, HasSubstr("warning: recording no more"));
  expect_identical(replay("full"));
}

}  // namespace
}  // namespace sluice::test
