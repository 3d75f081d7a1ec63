// sluice trace as a program, on a recording of each schedule: the report in a terminal, as JSON, as
// a page and as a picture; the page in a browser where there is one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Where a browser is, or "".
std::string browser() {
  for (const char* path :
       {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
    if (std::filesystem::exists(path)) return path;
  return "";
}

class TraceReport : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::vector<std::string> arguments = run_.train_arguments(
        "run", {"topology.pipeline_parallel_size=2", "topology.expert_parallel_size=2",
                "train.global_batch_size=4", "train.micro_batch_size=1", "train.steps=3",
                "model.num_hidden_layers=4", std::string("schedule.name=") + GetParam()});
    arguments.insert(arguments.end(), {"--record", recording()});
    const ChildResult result = run_program(arguments);
    ASSERT_EQ(result.exit_code, 0) << describe(result);
    EXPECT_THAT(result.out, testing::ContainsRegex("bubble [0-9]+ %  hidden [0-9]+ %"));
  }
  [[nodiscard]] std::string recording() const { return run_.directory("recording").string(); }
  [[nodiscard]] ChildResult report(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"trace", "report", recording()});
    return run_program(more);
  }
  SmallRun run_;
};

INSTANTIATE_TEST_SUITE_P(Schedules, TraceReport,
                         testing::Values("gpipe", "1f1b", "interleaved_1f1b", "zb1p", "zbv",
                                         "dualpipe", "dualpipev"),
                         [](const auto& info) { return "As_" + std::string(info.param); });

TEST_P(TraceReport, InATerminalAndAsJson) {
  const ChildResult text = report();
  ASSERT_EQ(text.exit_code, 0) << describe(text);
  for (const char* part :
       {"3 steps, ", "\nlanes ", "CPU compute", "\nactors ", "stage 1", "\nchannels ",
        "stage 0 -> stage 1: activation", "\nexperts ", "\nlongest chain of waits, step 3"})
    EXPECT_THAT(text.out, HasSubstr(part));
  EXPECT_THAT(text.out, Not(HasSubstr("\x1b"))) << "no colours in a pipe";

  const ChildResult machine = report({"--json"});
  ASSERT_EQ(machine.exit_code, 0) << describe(machine);
  const json data = json::parse(machine.out);
  EXPECT_EQ(data["steps"].size(), 3u);
  double sum = 0;
  for (const json& link : data["chain"]["links"]) sum += link["seconds"].get<double>();
  EXPECT_NEAR(sum, data["chain"]["seconds"].get<double>(), 1e-6);
  for (const json& lane : data["lanes"]) {
    const double all =
        lane["busy"].get<double>() + lane["exposed"].get<double>() + lane["bubble"].get<double>();
    EXPECT_NEAR(all, 1, 1e-9);
  }
  EXPECT_GT(data["busy"].get<double>(), 0);
  EXPECT_EQ(
      run_program({"trace", "export", recording(), "--out", run_.directory("x.json")}).exit_code,
      0);
}

TEST_P(TraceReport, AsAPage) {
  const std::filesystem::path page = run_.directory("report.html"), svg = run_.directory("a.svg");
  const ChildResult result = report({"--html", page, "--svg", svg, "--step", "2"});
  ASSERT_EQ(result.exit_code, 0) << describe(result);
  const std::string html = text_of(page);
  EXPECT_THAT(html, Not(HasSubstr("http"))) << "it needs no network";
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const std::size_t at = html.find(open) + open.size();
  const json data = json::parse(html.substr(at, html.find("</script>", at) - at));
  EXPECT_EQ(data["chain"]["step"], "step 2");
  EXPECT_EQ(data["picture"].size(), 6u + 1);  // stages, expert groups, and who reads samples
  for (const json& row : data["picture"]) EXPECT_GT(row["tasks"].size(), 0u) << row["name"];
  EXPECT_THAT(text_of(svg), HasSubstr(">stage 1</text>"));

  if (browser().empty()) GTEST_SKIP() << "no browser here: the page's data was checked";
  const ChildResult seen =
      run_child({browser(), "--headless", "--no-sandbox", "--disable-gpu",
                 "--user-data-dir=" + run_.directory("browser").string(),
                 "--virtual-time-budget=3000", "--dump-dom", "file://" + page.string()});
  ASSERT_EQ(seen.exit_code, 0) << describe(seen);
  EXPECT_THAT(seen.out, HasSubstr("data-ready=\"yes\""));  // the script came to its end
  EXPECT_THAT(seen.out, HasSubstr("Longest chain of waits: step 2"));
  EXPECT_THAT(seen.out, HasSubstr("<td>CPU compute</td>"));
  EXPECT_THAT(seen.out, HasSubstr("<td>stage 0 -&gt; stage 1: activation"));
}

TEST(TraceCommand, SaysWhatIsWrong) {
  const SmallRun run;
  const ChildResult none = run_program({"trace", "report", run.directory("nothing")});
  EXPECT_EQ(none.exit_code, 2) << describe(none);
  EXPECT_THAT(none.error, HasSubstr("nothing"));
}

}  // namespace
}  // namespace sluice::test
