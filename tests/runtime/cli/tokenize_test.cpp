// sluice tokenize: lines in, lines out, and which line is wrong.
#include "runtime/cli/tokenize.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/runtime/cli/run_line.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

struct Outcome {
  std::string out;
  std::string error;
};

Outcome run(const std::string& in, TokenizeOptions options = {}) {
  const auto tokenizer = Tokenizer::load("bytes");
  std::istringstream input(in);
  std::ostringstream output;
  const auto status = tokenize_lines(*tokenizer, options, input, output);
  return {output.str(), status ? "" : status.error().message};
}

TEST(Tokenize, ConvertsEachLine) {
  EXPECT_EQ(run("\"a\"\n \"\\u00e9\" \r\n\"\"").out, "[97]\n[195, 169]\n[]\n");
  EXPECT_EQ(run("\"a\"\n", {.encode = {.add_special_tokens = true}, .decode = {}}).out,
            "[256, 97]\n");
  EXPECT_EQ(run("[97, 195, 169, 257]\n[]\n", {.encode = {}, .decode = {}, .to_text = true}).out,
            "\"a\\u00e9<\\uff5cend\\u2581of\\u2581sentence\\uff5c>\"\n\"\"\n");
  EXPECT_EQ(
      run("[97, 257]\n", {.encode = {}, .decode = {.skip_special_tokens = true}, .to_text = true})
          .out,
      "\"a\"\n");
  EXPECT_EQ(run("").out, "");
}

TEST(Tokenize, NamesTheBadLine) {
  for (const char* bad : {"", "a", "\"a", "3", "[97]", "null", "\"\\ud800\"", "\"a\" \"b\""}) {
    const Outcome outcome = run(std::string("\"a\"\n") + bad + "\n\"c\"\n");
    EXPECT_EQ(outcome.out, "[97]\n") << bad;
    EXPECT_THAT(outcome.error, HasSubstr("line 2")) << bad;
  }
  for (const char* bad : {"\"a\"", "[1.5]", "[-1]", "[99999999999]", "[\"a\"]", "{}"}) {
    const Outcome outcome =
        run(std::string(bad) + "\n", {.encode = {}, .decode = {}, .to_text = true});
    EXPECT_THAT(outcome.error, HasSubstr("line 1")) << bad;
  }
}

TEST(CommandLine, ExitCodes) {
  EXPECT_EQ(run_line({}), 2);
  EXPECT_EQ(run_line({"no-such-command"}), 2);
  EXPECT_EQ(run_line({"tokenize"}), 2);
  EXPECT_EQ(run_line({"tokenize", "/no/such/path"}), 2);
  EXPECT_EQ(run_line({"tokenize", "bytes", "--skip-special-tokens"}), 2);
  EXPECT_EQ(run_line({"--help"}), 0);
  EXPECT_EQ(run_line({"--version"}), 0);
  EXPECT_EQ(run_line({"tokenize", "--help"}), 0);
}

}  // namespace
}  // namespace sluice
