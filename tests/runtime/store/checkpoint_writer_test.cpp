// Step folders: what they hold, that they appear whole or not at all, and that old ones go.
#include "runtime/store/checkpoint_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/digest.hpp"
#include "kernels/base/random.hpp"
#include "runtime/store/checkpoint_reader.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using ::testing::HasSubstr;

CheckpointLayout layout(DType weights = DType::kF32) {
  CheckpointLayout layout;
  layout.model.vocab_size = 96;
  layout.model.hidden_size = 32;
  layout.model.intermediate_size = 48;
  layout.model.moe_intermediate_size = 4;
  layout.model.num_attention_heads = 2;
  layout.model.q_lora_rank = 16;
  layout.model.kv_lora_rank = 16;
  layout.model.num_hidden_layers = 2;
  layout.model.num_nextn_predict_layers = 1;
  layout.weights = weights;
  layout.parameters = {{"model.embed_tokens.weight", {96, 32}},
                       {"lm_head.weight", {96, 32}},
                       {"model.layers.0.input_layernorm.weight", {32}},
                       {"model.layers.1.mlp.gate.weight", {256, 32}},
                       {"model.layers.1.mlp.gate.e_score_correction_bias", {256}, false, true}};
  layout.files = {{"tokenizer.json", "{}"}};
  return layout;
}

enum Part : std::uint64_t { kValue, kFirst, kSecond };

// The elements of a parameter after `step`: a function of all three, so that mixed-up files are
// seen.
std::vector<float> elements(const SavedParameter& parameter, Part part, std::int64_t step) {
  const Random random(digest(parameter.name) + part, RandomPurpose::kTest,
                      static_cast<std::uint64_t>(step));
  std::vector<float> values(static_cast<std::size_t>(parameter.shape.count()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.uniform(i) - 0.5f;
  return values;
}

Status write_step(const CheckpointDirectory& directory, std::int64_t step) {
  SLUICE_ASSIGN(CheckpointWriter writer, directory.begin(step));
  const auto& parameters = directory.layout().parameters;
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it) {  // order does not matter
    const auto value = elements(*it, kValue, step);
    const auto first = elements(*it, kFirst, step);
    const auto second = elements(*it, kSecond, step);
    const bool moments = it->has_moments;
    SLUICE_TRY(writer.add(it->name, {value, moments ? std::span(first) : std::span<const float>(),
                                     moments ? std::span(second) : std::span<const float>()}));
  }
  TrainerState state;
  state.step = step;
  state.samples_consumed = step * 8;
  state.recipe = "fp32";
  state.kernel_set = "reference";
  SLUICE_ASSIGN(const auto path, writer.commit(state));
  return directory.remove_old();
}

CheckpointDirectory open(const fs::path& path, CheckpointLayout layout, std::int64_t keep = 2) {
  auto directory = CheckpointDirectory::open(path, std::move(layout), keep);
  SLUICE_CHECK(directory.has_value(), "{}", directory.error().message);
  return std::move(*directory);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Every bit of the step folder is what write_step put there.
void expect_intact(const fs::path& folder, const CheckpointLayout& layout) {
  const auto state = read_trainer_state(folder);
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->samples_consumed, state->step * 8);
  const auto reader = CheckpointReader::open(folder);
  ASSERT_TRUE(reader) << reader.error().message;
  const auto optimizer = OptimizerReader::open(folder);
  ASSERT_TRUE(optimizer) << optimizer.error().message;
  std::vector<NamedShape> needed;
  for (const SavedParameter& p : layout.parameters) {
    needed.push_back({p.name, p.shape});
    std::vector<float> values(static_cast<std::size_t>(p.shape.count()));
    const auto expected = elements(p, kValue, state->step);
    if (optimizer->contains(OptimizerTensor::kMaster, p.name)) {
      ASSERT_TRUE(optimizer->read(OptimizerTensor::kMaster, p.name, p.shape, values));
      EXPECT_EQ(values, expected) << p.name;
      ASSERT_TRUE(reader->read(p.name, p.shape, values));
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], BF16::from_float(expected[i]).to_float()) << p.name;
      }
    } else {
      ASSERT_TRUE(reader->read(p.name, p.shape, values));
      EXPECT_EQ(values, expected) << p.name;
    }
    EXPECT_EQ(optimizer->contains(OptimizerTensor::kFirstMoment, p.name), p.has_moments);
    if (!p.has_moments) continue;
    ASSERT_TRUE(optimizer->read(OptimizerTensor::kFirstMoment, p.name, p.shape, values));
    EXPECT_EQ(values, elements(p, kFirst, state->step)) << p.name;
    ASSERT_TRUE(optimizer->read(OptimizerTensor::kSecondMoment, p.name, p.shape, values));
    EXPECT_EQ(values, elements(p, kSecond, state->step)) << p.name;
  }
  const auto notes = reader->check(needed);
  ASSERT_TRUE(notes) << notes.error().message;
}

TEST(CheckpointWriter, StepFolderHoldsModelOptimizerAndState) {
  for (const DType weights : {DType::kF32, DType::kBF16}) {
    TemporaryFolder folder;
    const auto directory = open(folder.path() / "a/b", layout(weights));
    const Status status = write_step(directory, 7);
    ASSERT_TRUE(status) << status.error().message;
    const fs::path step = folder.path() / "a/b/step-00000007";
    EXPECT_EQ(names_in(step),
              (std::vector<std::string>{"config.json", "model.safetensors", "optimizer.safetensors",
                                        "tokenizer.json", "trainer_state.json"}));
    expect_intact(step, layout(weights));
    EXPECT_EQ(newest_checkpoint(folder.path() / "a/b"), step);
  }
}

TEST(CheckpointWriter, LargeModelsAreSharded) {
  TemporaryFolder folder;
  CheckpointLayout sharded = layout();
  sharded.shard_bytes_max = 20'000;
  const auto directory = open(folder.path(), sharded);
  ASSERT_TRUE(write_step(directory, 1));
  const fs::path step = folder.path() / "step-00000001";
  EXPECT_TRUE(fs::exists(step / "model.safetensors.index.json"));
  EXPECT_TRUE(fs::exists(step / "model-00001-of-00005.safetensors"));
  EXPECT_FALSE(fs::exists(step / "model.safetensors"));
  expect_intact(step, sharded);
}

TEST(CheckpointWriter, WithoutOptimizerItIsAPlainModel) {
  TemporaryFolder folder;
  CheckpointLayout plain = layout(DType::kBF16);
  plain.with_optimizer = false;
  ASSERT_TRUE(write_step(open(folder.path(), plain), 1));
  EXPECT_FALSE(fs::exists(folder.path() / "step-00000001/optimizer.safetensors"));
  EXPECT_FALSE(OptimizerReader::open(folder.path() / "step-00000001"));
}

TEST(CheckpointWriter, OldStepsGoAndTheSameStepIsReplaced) {
  TemporaryFolder folder;
  const auto directory = open(folder.path(), layout(), 2);
  for (const std::int64_t step : {100, 20, 300}) ASSERT_TRUE(write_step(directory, step));
  EXPECT_EQ(names_in(folder.path()),
            (std::vector<std::string>{".lock", "step-00000100", "step-00000300"}));
  folder.write("step-00000300/stray", "from an earlier run");
  ASSERT_TRUE(write_step(directory, 300));
  EXPECT_FALSE(fs::exists(folder.path() / "step-00000300/stray"));
  EXPECT_EQ(names_in(folder.path()).size(), 3u);
  expect_intact(folder.path() / "step-00000300", layout());
}

TEST(CheckpointWriter, AbandonedWritersLeaveNothing) {
  TemporaryFolder folder;
  const auto directory = open(folder.path(), layout());
  {
    auto writer = directory.begin(1);
    ASSERT_TRUE(writer);
    EXPECT_EQ(names_in(folder.path()).size(), 2u);
  }
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{".lock"}));
  EXPECT_EQ(newest_checkpoint(folder.path()), std::nullopt);
}

TEST(CheckpointWriter, OneProcessWritesADirectory) {
  TemporaryFolder folder;
  const auto directory = open(folder.path(), layout());
  const auto second = CheckpointDirectory::open(folder.path(), layout(), 1);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("another process"));
}

TEST(CheckpointWriter, IncompleteCopiesAreNotTheNewest) {
  TemporaryFolder folder;
  const auto directory = open(folder.path(), layout(), 5);
  for (const std::int64_t step : {1, 2, 3, 4}) ASSERT_TRUE(write_step(directory, step));
  fs::remove(folder.path() / "step-00000004/tokenizer.json");
  fs::resize_file(folder.path() / "step-00000003/optimizer.safetensors", 100);
  EXPECT_EQ(newest_checkpoint(folder.path()), folder.path() / "step-00000002");
  EXPECT_THAT(check_whole(folder.path() / "step-00000003").error().message,
              HasSubstr("optimizer.safetensors"));
  folder.write("step-00000009/trainer_state.json", "{");
  folder.write("step-x/trainer_state.json", "{}");
  EXPECT_EQ(newest_checkpoint(folder.path()), folder.path() / "step-00000002");
}

TEST(CheckpointWriter, FindsTheCheckpointThatAPathMeans) {
  TemporaryFolder run;
  EXPECT_THAT(find_checkpoint(run.path()).error().message, HasSubstr("not a checkpoint"));
  EXPECT_THAT(find_checkpoint(run.path() / "none").error().message, HasSubstr("not a folder"));
  ASSERT_TRUE(write_step(open(run.path() / "checkpoints", layout()), 5));
  const fs::path step = run.path() / "checkpoints/step-00000005";
  EXPECT_EQ(*find_checkpoint(run.path()), step);
  EXPECT_EQ(*find_checkpoint(run.path() / "checkpoints"), step);
  EXPECT_EQ(*find_checkpoint(step), step);
}

// A limit on file sizes stands for a full disk: the system refuses the space in the same place.
TEST(CheckpointWriter, AFullDiskIsAnErrorThatLeavesNothing) {
  TemporaryFolder folder;
  const auto directory = open(folder.path(), layout());
  ASSERT_TRUE(write_step(directory, 1));
  struct rlimit before {};
  ::getrlimit(RLIMIT_FSIZE, &before);
  auto* previous = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit low { 4096, before.rlim_max };
  ::setrlimit(RLIMIT_FSIZE, &low);
  const auto status = write_step(directory, 2);
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, previous);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kFailed);
  EXPECT_THAT(status.error().message, HasSubstr("File too large"));
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{".lock", "step-00000001"}));
  expect_intact(folder.path() / "step-00000001", layout());
}

TEST(CheckpointWriter, FoldersThatCannotBeWritten) {
  TemporaryFolder folder;
  const auto file = folder.write("file", "");
  const auto below_a_file = CheckpointDirectory::open(file / "x", layout(), 1);
  ASSERT_FALSE(below_a_file);
  EXPECT_THAT(below_a_file.error().message, HasSubstr("Not a directory"));
  const auto in_proc =
      CheckpointDirectory::open("/proc/checkpoints", layout(), 1);  // nobody may, not even root
  ASSERT_FALSE(in_proc);
  EXPECT_THAT(in_proc.error().message, HasSubstr("/proc/checkpoints"));
}

[[noreturn]] void write_until_killed(const fs::path& path) {
  const auto newest = newest_checkpoint(path);
  std::int64_t step = newest ? read_trainer_state(*newest)->step : 0;
  const auto directory = CheckpointDirectory::open(path, layout(), 2);
  while (directory && write_step(*directory, ++step)) {
  }
  ::_exit(1);
}

TEST(CheckpointWriter, KilledFiftyTimesTheNewestIsWhole) {
  constexpr std::uint64_t kKills = 50;
  TemporaryFolder folder;
  const Random random(1, RandomPurpose::kTest);
  std::uint64_t killed_while_writing = 0;
  std::int64_t last_step = 0;
  for (std::uint64_t kill = 0; kill < kKills; ++kill) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(folder.path());
    ::usleep(static_cast<useconds_t>(5000 + random.below(250'000, kill)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself";
    for (const std::string& name : names_in(folder.path()))
      killed_while_writing += name.starts_with(".writing") ? 1 : 0;
    const auto newest = newest_checkpoint(folder.path());
    if (!newest) continue;  // killed before its first one
    expect_intact(*newest, layout());
    const std::int64_t step = read_trainer_state(*newest)->step;
    EXPECT_GE(step, last_step);
    last_step = step;
  }
  EXPECT_GT(last_step, 5);
  EXPECT_GT(killed_while_writing, 5u);
  const auto directory =
      open(folder.path(), layout());  // the next start clears what the kills left
  for (const std::string& name : names_in(folder.path())) {
    EXPECT_TRUE(name == ".lock" || name.starts_with("step-")) << name;
  }
}

TEST(TrainerState, ReadsBackTheSameAndRefusesTheRest) {
  TrainerState state;
  state.step = 12;
  state.samples_consumed = 96;
  state.seed = 3;
  state.numerics_digest = 0xfedcba9876543210ull;
  state.recipe = "bf16";
  state.kernel_set = "avx512+amx";
  state.training_loss = 1.5;
  state.files = {{"a", 1}};
  const std::string text = write_trainer_state(state);
  const auto again = parse_trainer_state(text, "x");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(write_trainer_state(*again), text);
  EXPECT_EQ(again->numerics_digest, state.numerics_digest);
  EXPECT_EQ(again->training_loss, 1.5);
  EXPECT_FALSE(again->validation_loss);
  const nlohmann::json good = nlohmann::json::parse(text);
  for (const auto& [key, value] : good.items()) {
    if (key.ends_with("loss")) continue;
    nlohmann::json bad = good;
    bad[key] = -1.5;
    EXPECT_FALSE(parse_trainer_state(bad.dump(), "x")) << key;
    bad.erase(key);
    EXPECT_FALSE(parse_trainer_state(bad.dump(), "x")) << key;
  }
}

}  // namespace
}  // namespace sluice::store
