// sluice config: texts, and the way its arguments are taken.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/cli/config_text.hpp"
#include "tests/runtime/cli/run_line.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice {
namespace {

using ::testing::HasSubstr;

// What a line prints on standard output; it must succeed.
std::string printed(std::vector<const char*> arguments) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(run_line(std::move(arguments)), 0);
  return ::testing::internal::GetCapturedStdout();
}

TEST(ConfigCommand, DumpsLayersAsTomlAndJson) {
  test::TemporaryFolder folder;
  const std::string file = folder.write("run.toml", "[train]\nsteps = 10\nseed = 4\n").string();
  const std::string text = printed({"config", "dump", "--set", "train.steps=20", file.c_str(),
                                    "--set", "data.paths=[\"a\", \"b c\"]"});
  EXPECT_THAT(text, HasSubstr("steps = 20"));
  EXPECT_THAT(text, HasSubstr("seed = 4"));
  EXPECT_THAT(text, HasSubstr("paths = [\"a\", \"b c\"]"));
  const auto json = nlohmann::json::parse(printed({"config", "dump", file.c_str(), "--json"}));
  EXPECT_EQ(json["train"]["steps"], 10);
  EXPECT_TRUE(json["model"]["hidden_size"].is_null());
  EXPECT_EQ(json["data"]["tokenizer"], "bytes");
}

TEST(ConfigCommand, Explains) {
  EXPECT_EQ(printed({"config", "explain", "train.steps"}),
            "train.steps: integer, 1 to 1000000000, default 1000\n    optimizer steps of the whole "
            "run\n");
  const auto all = nlohmann::json::parse(printed({"config", "explain", "--json"}));
  EXPECT_GT(all.size(), 60u);
  for (const auto& key : all) EXPECT_FALSE(key["doc"].get<std::string>().empty());
}

TEST(ConfigCommand, BadInputExitsWithTwo) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run_line({"config"}), 2);
  EXPECT_EQ(run_line({"config", "dump", "/nonexistent.toml"}), 2);
  EXPECT_EQ(run_line({"config", "dump", "--set", "train.stepz=1"}), 2);
  EXPECT_EQ(run_line({"config", "explain", "train.stepz"}), 2);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("did you mean train.steps?"));
}

}  // namespace
}  // namespace sluice
