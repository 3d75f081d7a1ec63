// sluice schedule as a program: outputs, files there and back, and what it says to bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;
using Arguments = std::vector<std::string>;

TEST(ScheduleCommand, TimesOfTheCallersChoice) {
  const auto json = nlohmann::json::parse(
      output_of("schedule", {"dualpipe", "--ranks", "4", "--micro-batches", "8", "--times",
                             "F=1.5,B=3,I=1.5,W=1.5,FB=4.25", "--json"}));
  EXPECT_EQ(json["bubble"], 4.25 + 3 - 3 * 1.5);
  EXPECT_EQ(json["ranks"].size(), 4u);
  const auto late =
      nlohmann::json::parse(output_of("schedule", {"1f1b", "--ranks", "2", "--micro-batches", "1",
                                                   "--transfer", "0.25", "--json"}));
  EXPECT_EQ(late["makespan"], 6.5);
}

TEST(ScheduleCommand, TimesThatAreAbsentFollowFromTheOthers) {
  const auto times_of = [](const std::string& times) {
    const std::string table = output_of(
        "schedule", {"dualpipe", "--ranks", "4", "--micro-batches", "8", "--times", times});
    const std::size_t at = table.find("times: ");
    return table.substr(at + 7, table.find('\n', at) - at - 7);
  };
  EXPECT_EQ(times_of("F=1"), "F 1, B 2, I 1, W 1, FB 3");
  EXPECT_EQ(times_of("F=2,FB=4"), "F 2, B 2, I 1, W 1, FB 4");
  EXPECT_EQ(times_of("B=5"), "F 1, B 5, I 2.5, W 2.5, FB 6");
  EXPECT_EQ(times_of("B=3,W=1"), "F 1, B 3, I 2, W 1, FB 4");
  EXPECT_EQ(times_of("B=3,I=1"), "F 1, B 3, I 1, W 2, FB 4");
  EXPECT_EQ(times_of("I=1.25,W=0.5"), "F 1, B 1.75, I 1.25, W 0.5, FB 2.75");
  EXPECT_EQ(times_of("B=0.000003"), "F 1, B 0.000003, I 0.000002, W 0.000001, FB 1.000003");
  EXPECT_THAT(refusal_of("schedule", {"dualpipe", "--ranks", "4", "--micro-batches", "8", "--times",
                                      "B=1,W=2"}),
              HasSubstr("B=1 is shorter than its half W=2; give I and W"));
}

TEST(ScheduleCommand, ItsCsvIsAScheduleToo) {
  const TemporaryFolder folder;
  const Arguments size{"--ranks", "2", "--micro-batches", "6"};
  for (const char* name : {"1f1b", "zbv", "dualpipe"}) {
    Arguments arguments{name};
    arguments.insert(arguments.end(), size.begin(), size.end());
    arguments.push_back("--csv");
    const std::string csv = output_of("schedule", arguments);
    const std::string file = folder.write("own.csv", csv).string();
    EXPECT_EQ(output_of("schedule", {file, "--csv"}), csv);
    EXPECT_THAT(output_of("schedule", {file}), HasSubstr(std::string("; the order of ") + name));
    arguments.back() = "--json";
    EXPECT_EQ(output_of("schedule", {file, "--json"}), output_of("schedule", arguments));
  }
}

TEST(ScheduleCommand, DrawsToAFile) {
  const TemporaryFolder folder;
  const std::string file = (folder / "x.svg").string();
  EXPECT_THAT(output_of("schedule", {"zbv", "--ranks", "2", "--micro-batches", "4", "--svg", file}),
              HasSubstr("drawn: " + file));
  EXPECT_THAT(read_file(file), HasSubstr("</svg>"));
  EXPECT_EQ(output_of("schedule", {"zbv", "--ranks", "2", "--micro-batches", "4", "--svg", "-"}),
            read_file(file));
}

TEST(ScheduleCommand, SaysWhatIsWrongAndWhatToDo) {
  const TemporaryFolder folder;
  const std::string file = folder.write("x.csv", "0F0,0F1,0B0,0B1\n1F0,1X1\n").string();
  EXPECT_THAT(refusal_of("schedule", {"zigzag"}),
              HasSubstr("use gpipe, 1f1b, interleaved_1f1b, zb1p, zbv, "
                        "dualpipe, dualpipev, or the path of a CSV file"));
  EXPECT_THAT(refusal_of("schedule", {"1f1b", "--ranks", "4"}),
              HasSubstr("add --ranks and --micro-batches"));
  EXPECT_THAT(refusal_of("schedule", {"dualpipe", "--ranks", "3", "--micro-batches", "8"}),
              HasSubstr("needs an even number of ranks"));
  EXPECT_THAT(refusal_of("schedule", {"1f1b", "--ranks", "-4", "--micro-batches", "8"}),
              HasSubstr("--ranks"));
  EXPECT_THAT(refusal_of("schedule", {"1f1b", "--ranks", "99999999999", "--micro-batches", "8"}),
              HasSubstr("--ranks"));
  const Arguments sized{"1f1b", "--ranks", "2", "--micro-batches", "2", "--times"};
  for (const char* times : {"F", "F=", "G=1", "F=-1", "F=1e3", "F=1.1234567", "F=100001", "F=nan",
                            "F=.", "F=1;B=2", "=1"}) {
    Arguments arguments = sized;
    arguments.push_back(times);
    EXPECT_THAT(refusal_of("schedule", arguments), HasSubstr("--times")) << times;
  }
  EXPECT_THAT(
      refusal_of("schedule", {"1f1b", "--ranks", "2", "--micro-batches", "2", "--json", "--csv"}),
      HasSubstr("--csv"));
  EXPECT_THAT(refusal_of("schedule", {(folder / "none.csv").string()}), HasSubstr("none.csv"));
  EXPECT_THAT(refusal_of("schedule", {file}), HasSubstr("x.csv:2:2: \"1X1\" is no pass"));
  folder.write("x.csv", "0F0,0F1,0B0,0B1\n1F0,1F1,1B0,1B1\n");
  EXPECT_THAT(refusal_of("schedule", {file, "--ranks", "4"}), HasSubstr("is of 2 ranks"));
  EXPECT_THAT(refusal_of("schedule", {file, "--micro-batches", "4"}),
              HasSubstr("is of 2 micro-batches"));
  EXPECT_THAT(refusal_of("schedule", {file, "--stages-per-rank", "1"}), HasSubstr("leave out"));
}

TEST(ScheduleCommand, TrainsByAFileThatLiesBesideTheConfig) {
  const SmallRun run;
  const ChildResult named = run.train("named");
  EXPECT_EQ(named.exit_code, 0) << describe(named);
  // GPipe's order of the run's micro-batches on one rank.
  const auto plan =
      nlohmann::json::parse(run_program({"plan", run.config().string(), "--json"}).out);
  std::string forward, backward;
  std::istringstream tokens(plan["stages"][0]["program"].get<std::string>());
  for (std::string token; tokens >> token;) {
    (token.find('F') != std::string::npos ? forward : backward) += token + ",";
  }
  run.folder().write("own.csv", forward + backward.substr(0, backward.size() - 1) + "\n");
  const std::string toml = read_file(run.config());
  run.folder().write("own.toml", toml + "\n[schedule]\nfile = \"own.csv\"\n");
  const auto train = [&](const std::string& file, const std::string& name) {
    return run_program({"train", (run.folder() / file).string(), "--set",
                        "run.directory=" + run.directory(name).string()});
  };
  const ChildResult own = train("own.toml", "own");
  ASSERT_EQ(own.exit_code, 0) << describe(own);
  EXPECT_EQ(metrics_of(run.directory("own")), metrics_of(run.directory("named")));
  const auto resumable = read_file(run.directory("own") / "config.toml");
  EXPECT_THAT(resumable, HasSubstr((run.folder() / "own.csv").string()));

  run.folder().write("own.csv", "0F0,0B0\n");
  const ChildResult refused = train("own.toml", "refused");
  EXPECT_EQ(refused.exit_code, 2) << describe(refused);
  EXPECT_THAT(refused.error, HasSubstr("own.csv: a schedule of 1 micro-batches, where a step has"));
}

}  // namespace
}  // namespace sluice::test
