// A run that was stopped or killed goes on to the same bits as one that was not: weights, moments,
// position in the data and metrics, also under another layout. Interrupts save; kills at any moment
// leave a whole checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "runtime/store/checkpoint_reader.hpp"
#include "runtime/store/checkpoint_writer.hpp"
#include "runtime/store/trainer_state.hpp"
#include "tests/runtime/cli/program.hpp"
#include "tests/support/under_sanitizer.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;
using testing::Not;

// Lines of training steps. A piece of a run also validates at its end, which the whole one does
// not.
std::vector<std::string> steps_of(const std::filesystem::path& run_directory) {
  std::vector<std::string> lines = metrics_of(run_directory);
  std::erase_if(lines, [](const std::string& line) { return line.find("\"train\"") == line.npos; });
  return lines;
}

// Every byte of the last checkpoint and every number of the metrics.
void expect_same_end(const std::filesystem::path& want, const std::filesystem::path& got,
                     const std::string& step) {
  const auto expected = files_of(want / "checkpoints" / step);
  const auto actual = files_of(got / "checkpoints" / step);
  ASSERT_GE(expected.size(), 4u) << "no checkpoint " << step;
  for (const auto& [name, content] : expected) {
    ASSERT_TRUE(actual.contains(name)) << name;
    EXPECT_TRUE(actual.at(name) == content) << name << " differs";
  }
  EXPECT_EQ(actual.size(), expected.size());
  EXPECT_EQ(steps_of(got), steps_of(want));
  EXPECT_EQ(metrics_of(got).back(), metrics_of(want).back());  // the validation at the end
}

class Resume : public testing::TestWithParam<const char*> {
 protected:
  std::vector<std::string> with_recipe(std::vector<std::string> sets) const {
    sets.push_back(std::string("precision.recipe=") + GetParam());
    return sets;
  }
  void train(const std::string& name, const std::vector<std::string>& sets, bool resume) const {
    const ChildResult result = run_.train(name, with_recipe(sets), resume);
    ASSERT_EQ(result.exit_code, 0) << describe(result);
  }

  SmallRun run_;
};

INSTANTIATE_TEST_SUITE_P(Recipes, Resume, testing::Values("fp32", "bf16"),
                         [](const auto& info) { return info.param; });

TEST_P(Resume, FourAndFourStepsAreEight) {
  train("unbroken", {"checkpoint.every_steps=4"}, false);
  train("broken", {"checkpoint.every_steps=4", "train.steps=4"}, false);
  train("broken", {"checkpoint.every_steps=4"}, true);
  expect_same_end(run_.directory("unbroken"), run_.directory("broken"), "step-00000008");
}

// Unbroken on one rank; each piece of the other run in a layout of its own.
TEST_P(Resume, UnderAnotherLayoutEveryTime) {
  train("unbroken", {}, false);
  train("broken", {"train.steps=2", "topology.pipeline_parallel_size=3"}, false);
  train("broken", {"train.steps=3", "topology.expert_parallel_size=4", "device.threads=2"}, true);
  train("broken",
        {"train.steps=5", "topology.pipeline_parallel_size=2", "topology.expert_parallel_size=8",
         "schedule.name=gpipe"},
        true);
  train("broken", {"schedule.run_ahead=3"}, true);
  // A run that ends early also validates then; the unbroken one does so on schedule alone.
  const auto expected = files_of(run_.directory("unbroken") / "checkpoints" / "step-00000008");
  const auto actual = files_of(run_.directory("broken") / "checkpoints" / "step-00000008");
  ASSERT_GE(expected.size(), 4u);
  EXPECT_TRUE(expected == actual);
}

// Each piece by another schedule. What changes bits is into how many parts a batch is summed.
TEST_P(Resume, UnderEverySchedule) {
  const std::string batch = "train.global_batch_size=4", parts = "train.gradient_shards=2";
  train("unbroken", {batch, parts}, false);
  const std::vector<std::vector<std::string>> pieces{
      {"schedule.name=dualpipe", "topology.pipeline_parallel_size=2"},
      {"schedule.name=zb1p", "topology.pipeline_parallel_size=3"},
      {"schedule.name=zbv", "topology.layers_per_stage=[1, 2]"},
      {"schedule.name=dualpipev", "topology.expert_parallel_size=2"},
      {"schedule.name=interleaved_1f1b", "schedule.stages_per_rank=3"},
      {"schedule.name=dualpipe", "topology.pipeline_parallel_size=2", "schedule.run_ahead=0"}};
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::vector<std::string> sets = pieces[i];
    sets.insert(sets.end(), {batch, parts});
    if (i + 1 < pieces.size()) sets.push_back(fmt::format("train.steps={}", i + 1));
    train("broken", sets, i > 0);
  }
  const auto expected = files_of(run_.directory("unbroken") / "checkpoints" / "step-00000008");
  const auto actual = files_of(run_.directory("broken") / "checkpoints" / "step-00000008");
  ASSERT_GE(expected.size(), 4u);
  EXPECT_TRUE(expected == actual);

  const ChildResult other = run_.train("broken", with_recipe({batch, "train.steps=9"}), true);
  EXPECT_EQ(other.exit_code, 2) << describe(other);
  EXPECT_THAT(other.error, HasSubstr("train.gradient_shards (1 here, 2 there)"));
}

// DualPipe by itself sums its two ways apart.
TEST_P(Resume, DualPipeNeedsNoKeyOfItsOwn) {
  train(
      "dualpipe",
      {"train.global_batch_size=4", "schedule.name=dualpipe", "topology.pipeline_parallel_size=2"},
      false);
  train("one stage", {"train.global_batch_size=4", "train.gradient_shards=2"}, false);
  EXPECT_EQ(metrics_of(run_.directory("dualpipe")), metrics_of(run_.directory("one stage")));
}

TEST_P(Resume, AfterAnInterrupt) {
  const std::vector<std::string> sets = with_recipe({"train.steps=150"});
  train("unbroken", {"train.steps=150"}, false);
  ChildProcess child = ChildProcess::start(program(run_.train_arguments("broken", sets)));
  ASSERT_TRUE(child.wait_for_output("step 1/150"));
  child.send_signal(SIGINT);
  const ChildResult stopped = child.wait();
  ASSERT_EQ(stopped.exit_code, 0) << describe(stopped);
  EXPECT_THAT(stopped.out, HasSubstr("stopped at step"));
  EXPECT_THAT(stopped.out, HasSubstr("--resume"));
  EXPECT_THAT(stopped.out, HasSubstr("--set"));
  EXPECT_THAT(stopped.out, Not(HasSubstr("\r"))) << "not a terminal: plain lines";
  const auto newest = store::newest_checkpoint(run_.directory("broken") / "checkpoints");
  ASSERT_TRUE(newest);
  EXPECT_LT(newest->filename().string(), "step-00000150");
  train("broken", {"train.steps=150"}, true);
  expect_same_end(run_.directory("unbroken"), run_.directory("broken"), "step-00000150");
}

// The config that a run leaves in its folder is enough to go on.
TEST_P(Resume, FromTheConfigInTheRunFolder) {
  train("unbroken", {}, false);
  train("broken", {"train.steps=4", "train.validation_every=0"}, false);
  const ChildResult result =
      run_program({"train", (run_.directory("broken") / "config.toml").string(), "--resume",
                   "--set", "train.steps=8"});
  ASSERT_EQ(result.exit_code, 0) << describe(result);
  EXPECT_EQ(files_of(run_.directory("broken") / "checkpoints" / "step-00000008"),
            files_of(run_.directory("unbroken") / "checkpoints" / "step-00000008"));
}

TEST(ResumeErrors, AnotherModelOrNothingToResume) {
  const SmallRun run;
  ChildResult result = run.train("none", {}, true);
  EXPECT_EQ(result.exit_code, 2) << describe(result);
  EXPECT_THAT(result.error, HasSubstr("--resume"));
  ASSERT_EQ(run.train("one").exit_code, 0);
  result = run.train("one", {"train.steps=9", "train.seed=8"}, true);
  EXPECT_EQ(result.exit_code, 2) << describe(result);
  EXPECT_THAT(result.error, HasSubstr("train.seed"));
  result = run.train("one", {"train.steps=9", "model.hidden_size=48"}, true);
  EXPECT_EQ(result.exit_code, 2) << describe(result);
  result = run.train("one", {}, true);
  EXPECT_EQ(result.exit_code, 2) << describe(result);
  EXPECT_THAT(result.error, HasSubstr("train.steps"));
}

// A run never mixes with an earlier one in the same folder: whose step is newest would decide which
// one goes on.
TEST(NewRun, KeepsApartFromAnEarlierOneInItsFolder) {
  const SmallRun run;
  ASSERT_EQ(run.train("one").exit_code, 0);
  const std::filesystem::path checkpoints = run.directory("one") / "checkpoints";
  const auto earlier = files_of(checkpoints / "step-00000008");
  const ChildResult result = run.train("one", {"train.steps=4", "train.seed=8"});
  ASSERT_EQ(result.exit_code, 0) << describe(result);
  EXPECT_THAT(result.out, HasSubstr("checkpoints-earlier-1"));
  EXPECT_EQ(store::newest_checkpoint(checkpoints)->filename(), "step-00000004");
  EXPECT_EQ(files_of(run.directory("one") / "checkpoints-earlier-1" / "step-00000008"), earlier);
  ASSERT_EQ(run.train("one", {"train.steps=6", "train.seed=8"}, true).exit_code, 0);
}

// Steps that checkpoint each time; killed fifty times while it starts, computes, writes, renames.
TEST(Kill, FiftyTimesAtAnyMoment) {
  const SmallRun run;
  const std::vector<std::string> sets{"train.steps=200", "checkpoint.every_steps=1",
                                      "train.validation_every=0", "train.warmup_steps=20"};
  const std::vector<std::string> unbroken_sets{"train.steps=200", "train.validation_every=0",
                                               "train.warmup_steps=20"};
  ASSERT_EQ(run.train("unbroken", unbroken_sets).exit_code, 0);
  const std::filesystem::path checkpoints = run.directory("killed") / "checkpoints";
  std::mt19937_64 random(20241226);
  std::string newest_name;
  for (int kill = 0; kill < (kUnderSanitizer ? 10 : 50); ++kill) {
    ChildProcess child =
        ChildProcess::start(program(run.train_arguments("killed", sets, !newest_name.empty())));
    // "saved": a checkpoint of this life is there; some lives end before the first.
    const bool lives_longer = random() % 4 != 0;
    ASSERT_TRUE(!lives_longer || child.wait_for_output("saved")) << describe(child.wait());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    child.send_signal(SIGKILL);
    const ChildResult result = child.wait();
    ASSERT_EQ(result.signal_number, SIGKILL) << "ended by itself: " << describe(result);

    const auto newest = store::newest_checkpoint(checkpoints);
    if (!newest) continue;
    EXPECT_GE(newest->filename().string(), newest_name) << "a checkpoint was lost";
    newest_name = newest->filename().string();
    const auto reader = store::CheckpointReader::open(*newest);
    ASSERT_TRUE(reader) << reader.error().message;
    const auto optimizer = store::OptimizerReader::open(*newest);
    ASSERT_TRUE(optimizer) << optimizer.error().message;
  }
  const ChildResult last = run.train("killed", sets, true);
  ASSERT_EQ(last.exit_code, 0) << describe(last);
  expect_same_end(run.directory("unbroken"), run.directory("killed"), "step-00000200");
  // Nothing is left over: step folders, as many as are kept, and the lock.
  std::size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".writing")) << entry.path();
    EXPECT_FALSE(entry.path().filename().string().starts_with(".removing")) << entry.path();
    ++entries;
  }
  EXPECT_EQ(entries, 3u);
}

// The losses in trainer_state.json are those of its step in metrics.jsonl; also when a run goes on.
TEST(Checkpoint, RecordsItsLosses) {
  const SmallRun run;
  const std::vector<std::string> sets{"checkpoint.every_steps=2", "checkpoint.keep=9"};
  ASSERT_EQ(run.train("one", {"train.steps=4", sets[0], sets[1]}).exit_code, 0);
  ASSERT_EQ(run.train("one", sets, true).exit_code, 0);
  std::map<std::int64_t, double> training, validation;  // by the number of steps done
  for (const std::string& line : metrics_of(run.directory("one"))) {
    const auto object = nlohmann::json::parse(line);
    const auto step = object["step"].get<std::int64_t>();
    const double loss = object["loss"].get<double>();
    object["kind"] == "train" ? training[step + 1] = loss : validation[step] = loss;
  }
  for (const std::int64_t step : {2, 4, 6, 8}) {
    const auto state = store::read_trainer_state(run.directory("one") / "checkpoints" /
                                                 fmt::format("step-{:08}", step));
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->training_loss, training.at(step));
    const auto validated = validation.find(step);  // 4: the end of the first piece
    ASSERT_EQ(validated != validation.end(), step != 2);
    EXPECT_EQ(state->validation_loss, step == 2 ? std::nullopt : std::optional(validated->second));
  }
}

TEST(Metrics, WholeLinesAndACurve) {
  const SmallRun run;
  ASSERT_EQ(run.train("one").exit_code, 0);
  const auto lines = metrics_of(run.directory("one"));
  EXPECT_EQ(lines.size(), 8u + 3u);  // steps, and validations after 3, 6, 8
  EXPECT_THAT(lines.front(), HasSubstr("\"max_violation\""));
  EXPECT_THAT(lines.front(), HasSubstr("\"balance\""));
  EXPECT_THAT(lines.front(), HasSubstr("\"mtp\""));
  const ChildResult drawn = run_program({"metrics", run.directory("one").string()});
  EXPECT_EQ(drawn.exit_code, 0) << describe(drawn);
  EXPECT_THAT(drawn.out, HasSubstr("training loss"));
  EXPECT_THAT(drawn.out, HasSubstr("step 8: loss"));
  const ChildResult none = run_program({"metrics", run.directory("none").string()});
  EXPECT_EQ(none.exit_code, 2) << describe(none);
}

}  // namespace
}  // namespace sluice::test
