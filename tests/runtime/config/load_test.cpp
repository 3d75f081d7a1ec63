// Layers, messages with file and line, --set, dumping and help.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/config/config.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Result<Config> parse(std::string_view toml, const std::vector<std::string>& sets = {}) {
  return parse_config(toml, "run.toml", sets);
}

std::string message_of(std::string_view toml, const std::vector<std::string>& sets = {}) {
  const auto config = parse(toml, sets);
  if (config) return "(accepted)";
  EXPECT_EQ(config.error().kind, ErrorKind::kInvalidInput);
  return config.error().message;
}

TEST(Config, DefaultsThenFileThenSet) {
  const auto defaults = parse("");
  ASSERT_TRUE(defaults);
  EXPECT_EQ(defaults->train.steps, 1000);
  const std::string toml = "[train]\nsteps = 10\nsequence_length = 64\n";
  const auto config =
      parse(toml, {"train.steps=20", "train.learning_rate = 1", "run.directory=runs/a b"});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->train.steps, 20);
  EXPECT_EQ(config->train.sequence_length, 64);
  EXPECT_EQ(config->train.learning_rate, 1.0);
  EXPECT_EQ(config->run.directory, "runs/a b");
  EXPECT_EQ(config->where("train.steps"), "--set train.steps");
  EXPECT_EQ(config->where("train.sequence_length"), "run.toml:3: train.sequence_length");
  EXPECT_EQ(config->where("train.seed"), "train.seed");
}

TEST(Config, UnknownKeysNameTheNearest) {
  EXPECT_THAT(message_of("[train]\nsteps = 1\nlerning_rate = 1.0\n"),
              AllOf(StartsWith("run.toml:3: unknown key train.lerning_rate"),
                    HasSubstr("train.learning_rate")));
  EXPECT_THAT(message_of("steps = 1"), HasSubstr("did you mean train.steps?"));
  EXPECT_THAT(message_of("[trian]\n"),
              AllOf(HasSubstr("unknown section trian"), HasSubstr("mean train?")));
  EXPECT_THAT(message_of("[qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq]\nzzzzzzzzzzzzzzzzzz=1"),
              HasSubstr("config explain"));
  EXPECT_THAT(message_of("[trian]\nx = 1"), HasSubstr("did you mean train.x?"));
  EXPECT_THAT(message_of("train = 3"), HasSubstr("train is a section"));
  EXPECT_THAT(message_of("[[train]]\nsteps = 3"), HasSubstr("train is a section"));
  EXPECT_EQ(message_of("[train]\n[data]\n"), "(accepted)");
  EXPECT_THAT(message_of("", {"train.stepz=1"}),
              StartsWith("--set: unknown key train.stepz; did you mean train.steps?"));
  EXPECT_LT(message_of("[train]\n" + std::string(100'000, 'x') + " = 1").size(), 300u);
}

TEST(Config, WrongTypesAndRangesNameKeyAndLine) {
  EXPECT_THAT(message_of("[train]\nsteps = \"many\""),
              HasSubstr("run.toml:2: train.steps must be of type integer, not string"));
  EXPECT_THAT(message_of("[train]\nsteps = 1.5"), HasSubstr("must be of type integer, not real"));
  EXPECT_THAT(message_of("[train]\nsteps = 0"),
              HasSubstr("train.steps is 0, must be from 1 to 1000000000"));
  EXPECT_THAT(message_of("[train]\nlearning_rate = nan"), HasSubstr("train.learning_rate is nan"));
  EXPECT_THAT(message_of("[train]\nlearning_rate = -inf"),
              HasSubstr("train.learning_rate is -inf"));
  EXPECT_THAT(message_of("[train]\nlearning_rate = true"),
              HasSubstr("must be of type real, not flag"));
  EXPECT_THAT(message_of("[precision]\nrecipe = \"int4\""),
              HasSubstr("is \"int4\", must be one of fp32 | bf16"));
  EXPECT_THAT(message_of("[data]\npaths = [1]"), HasSubstr("must be of type list of strings"));
  EXPECT_THAT(message_of("[model]\nhidden_size = 0"), HasSubstr("model.hidden_size is 0"));
  EXPECT_THAT(message_of("[model]\nmtp_depth = 65"),
              HasSubstr("model.mtp_depth is 65, must be from 0 to 64"));
}

TEST(Config, AllProblemsAreInOneMessage) {
  const std::string message = message_of("[train]\nsteps = 0\nseeed = 1\n", {"device.isa=neon"});
  EXPECT_THAT(message, AllOf(HasSubstr("run.toml:2"), HasSubstr("run.toml:3"),
                             HasSubstr("--set: device.isa")));
  std::string many = "[train]\n";
  for (int i = 0; i < 30; ++i) many += fmt::format("x{} = 1\n", i);
  EXPECT_THAT(message_of(many), AllOf(HasSubstr("and 20 more"), Not(HasSubstr("x11"))));
}

TEST(Config, ImpossibleCombinations) {
  EXPECT_THAT(message_of("[train]\nmicro_batch_size = 3\nglobal_batch_size = 8\n"),
              AllOf(StartsWith("run.toml:3: train.global_batch_size is 8"),
                    HasSubstr("run.toml:2: train.micro_batch_size, which is 3")));
  EXPECT_THAT(message_of("[train]\nminimum_learning_rate = 1.0"),
              HasSubstr("above train.learning_rate"));
  EXPECT_THAT(message_of("[train]\nsequence_length = 1048576\nmicro_batch_size = "
                         "65536\nglobal_batch_size = 65536"),
              AllOf(HasSubstr("run.toml:3: train.micro_batch_size is 65536"), HasSubstr("tokens")));
  EXPECT_THAT(message_of("[train]\nadam_beta2 = 1"), HasSubstr("must be below 1"));
  EXPECT_THAT(message_of("[model]\nmtp_depth=1\nnum_nextn_predict_layers=1"),
              HasSubstr("leave one out"));
}

TEST(Config, SetTakesTomlOrBareWords) {
  const auto set = [](const std::string& text) {
    const auto config = parse("", {text});
    SLUICE_CHECK(config.has_value(), "{}", config.error().message);
    return *config;
  };
  EXPECT_EQ(set("data.tokenizer=tokenizers/v3/tokenizer.json").data.tokenizer,
            "tokenizers/v3/tokenizer.json");
  EXPECT_EQ(set("data.tokenizer=\"a b\"").data.tokenizer, "a b");
  EXPECT_EQ(set("data.tokenizer='a b'").data.tokenizer, "a b");
  EXPECT_EQ(set("run.directory=2024-01-01").run.directory, "2024-01-01");
  EXPECT_EQ(set("run.directory=7").run.directory, "7");
  EXPECT_EQ(set("run.directory=true").run.directory, "true");
  EXPECT_EQ(set("run.directory=a=b").run.directory, "a=b");
  EXPECT_EQ(set("checkpoint.directory=").checkpoint.directory, "");
  EXPECT_EQ(set("data.paths=docs/**/*.md").data.paths, (std::vector<std::string>{"docs/**/*.md"}));
  EXPECT_EQ(set("data.paths=[\"a\", 'b']").data.paths, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(set("train.learning_rate=1e-3").train.learning_rate, 1e-3);
  EXPECT_EQ(set("schedule.name=gpipe").schedule.name, "gpipe");
  EXPECT_THAT(message_of("", {"schedule.name=zigzag"}), HasSubstr("must be one of gpipe | 1f1b"));
  EXPECT_THAT(message_of("", {"train.steps=many"}),
              HasSubstr("train.steps must be of type integer, not string"));
  EXPECT_THAT(message_of("", {"train.steps="}), HasSubstr("--set train.steps"));
  EXPECT_THAT(message_of("", {"train.steps"}), HasSubstr("must be key=value"));
  EXPECT_THAT(message_of("", {"=1"}), HasSubstr("must be key=value"));
  EXPECT_THAT(message_of("", {"data.paths=[\"a\""}), HasSubstr("--set data.paths"));
  EXPECT_THAT(message_of("", {"train.steps=1\nx = 2"}), HasSubstr("--set train.steps"));
}

// A legal value that is not the default, for each type of key.
void change(const Field<std::int64_t>& f) {
  f.value = static_cast<std::int64_t>(std::max(f.minimum, 2.0));
}
void change(const Field<bool>& f) { f.value = !f.value; }
void change(const Field<double>& f) {
  f.value = std::nextafter(std::min(std::max(f.minimum, 0.1), f.maximum), 0.0);
}
void change(const Field<std::string>& f) {
  f.value =
      f.choices.empty() ? "a \"quoted\" \\ \n \x01 \x7f \xc3\xa9" : std::string(f.choices.back());
}
void change(const Field<std::vector<std::string>>& f) { f.value = {"x", "", "y z\t"}; }
void change(const Field<std::vector<std::int64_t>>& f) { f.value = {4, 1, 10000}; }
template <class T>
void change(const Field<std::optional<T>>& f) {
  f.value = static_cast<T>(std::max(f.minimum, 1.0));
}

TEST(Config, DumpReadsBackToTheSameBits) {
  Config config;
  config.visit_fields([](std::string_view, auto& f) { change(f); });
  config.model.mtp_depth.reset();  // says the same as num_nextn_predict_layers
  const std::string text = dump_toml(config);
  const auto again = parse(text);
  ASSERT_TRUE(again) << again.error().message << "\n" << text;
  EXPECT_EQ(dump_toml(*again), text);
  EXPECT_EQ(again->data.tokenizer, config.data.tokenizer);
  EXPECT_EQ(again->data.paths, config.data.paths);
  EXPECT_EQ(again->train.learning_rate, config.train.learning_rate);
  EXPECT_EQ(again->train.adam_epsilon, config.train.adam_epsilon);
}

TEST(Config, DumpOfTheDefaultsListsEveryKeyButTheOverrides) {
  const std::string text = dump_toml(Config{});
  for (const KeyHelp& help : explain_all()) {
    const bool is_override = help.key.starts_with("model.") && help.key != "model.config" &&
                             help.key != "model.mtp_depth";
    const std::string name = help.key.substr(help.key.find('.') + 1);
    EXPECT_EQ(text.find("\n" + name + " =") == std::string::npos &&
                  text.find("\n# " + name + " =") == std::string::npos,
              is_override)
        << help.key;
  }
  EXPECT_TRUE(parse(text));
}

TEST(Config, EveryKeyExplainsItself) {
  for (const KeyHelp& help : explain_all()) {
    EXPECT_FALSE(help.doc.empty()) << help.key;
    EXPECT_FALSE(help.type.empty()) << help.key;
    const bool has_number = help.type == "integer" || help.type == "real";
    EXPECT_EQ(has_number && help.range.empty(), false) << help.key;
  }
  const auto one = explain("train.steps");
  ASSERT_TRUE(one);
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ(one->front().default_value, "1000");
  EXPECT_EQ(one->front().range, "1 to 1000000000");
  EXPECT_GT(explain("data")->size(), 3u);
  EXPECT_THAT(explain("train.stepps").error().message, HasSubstr("train.steps"));
}

TEST(Config, DefaultsAreInTheirRanges) {
  const auto again = parse(dump_toml(Config{}));
  ASSERT_TRUE(again) << again.error().message;
}

TEST(Config, DigestFollowsWhatDecidesTheNumbers) {
  const auto digest_with = [](const std::string& set) {
    return numerics_digest(*parse("", {set}));
  };
  const std::uint64_t base = numerics_digest(Config{});
  for (const char* set : {"train.seed=5", "train.learning_rate=0.5", "precision.recipe=bf16",
                          "model.mtp_depth=1", "data.fim_rate=0.1", "train.global_batch_size=16"}) {
    EXPECT_NE(digest_with(set), base) << set;
  }
  for (const char* set : {"train.steps=5", "topology.expert_parallel_size=2", "device.threads=1",
                          "run.directory=x", "checkpoint.keep=9", "schedule.name=gpipe"}) {
    EXPECT_EQ(digest_with(set), base) << set;
  }
}

TEST(Config, FilesThatCannotBeRead) {
  test::TemporaryFolder folder;
  const auto message = [](const std::filesystem::path& path) {
    const auto config = load_config(path, {});
    SLUICE_CHECK(!config && config.error().kind == ErrorKind::kInvalidInput);
    return config.error().message;
  };
  EXPECT_THAT(message(folder.path() / "none.toml"),
              AllOf(HasSubstr("none.toml"), HasSubstr("No such file")));
  EXPECT_THAT(message(folder.path()), HasSubstr("not a plain file"));
  EXPECT_THAT(message(folder.write("big.toml", std::string(2 << 20, ' '))), HasSubstr("more than"));
  EXPECT_THAT(message(folder.write("bad.toml", "[train\n")), HasSubstr("bad.toml:1"));
}

}  // namespace
}  // namespace sluice::config
