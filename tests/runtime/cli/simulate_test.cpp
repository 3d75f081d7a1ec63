// sluice simulate as a program: V3 on H800, other systems, and what it says to bad input.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
using Arguments = std::vector<std::string>;

const std::string kV3 = SLUICE_CONFIGS "/deepseek_v3.toml";
const std::string kH800 = SLUICE_CONFIGS "/hardware/h800.toml";

json json_of(Arguments arguments) {
  arguments.emplace_back("--json");
  return json::parse(output_of("simulate", arguments));
}

TEST(SimulateCommand, DeepSeekV3WithinTheBars) {
  const auto start = std::chrono::steady_clock::now();
  const json out = json_of({kV3, "--hardware", kH800});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  const json passes = {{"1F", 23}, {"1B", 23}, {"1W", 15}, {"1F1B", 97}};
  EXPECT_EQ(out["passes"], passes);
  const auto error = [&](const char* part) {
    return std::abs(out["error"]["parts"][part].get<double>());
  };
  EXPECT_LT(std::abs(out["error"]["step_s"].get<double>()), 0.11);
  EXPECT_LT(error("1F"), 0.10);
  EXPECT_LT(error("1B"), 0.10);
  EXPECT_LT(error("1W"), 0.10);
  EXPECT_LT(error("bubble"), 0.20);
  EXPECT_LT(error("optimizer"), 0.25);
  const auto pace = [](const json& parts) {
    return parts["1F1B"].get<double>() + parts["bubble"].get<double>();
  };
  EXPECT_NEAR(pace(out["parts"]) / pace(out["published"]["parts"]), 1, 0.12);
  double sum = 0;
  for (const json& part : out["parts"]) sum += part.get<double>();
  EXPECT_NEAR(sum, out["step_s"].get<double>(), 1e-6);
  EXPECT_EQ(out["memory"].size(), 16u);
  EXPECT_EQ(out["gpus"], 2048);
}

TEST(SimulateCommand, SaysWhatItAssumedAndFolded) {
  EXPECT_THAT(output_of("simulate", {kV3, "--hardware", kH800}),
              AllOf(HasSubstr("balanced routing assumed"),
                    HasSubstr("128 equal pipelines folded into one, and the 64 ranks")));
  const std::string loaded =
      output_of("simulate", {kV3, "--hardware", kH800, "--expert-load", "1.25"});
  EXPECT_THAT(loaded, Not(HasSubstr("balanced routing assumed")));
  EXPECT_THAT(loaded, HasSubstr("1.25 times the mean"));
}

TEST(SimulateCommand, RowsOfAnyRank) {
  const json rank3 = json_of({kV3, "--hardware", kH800, "--rows", "rank=3"});
  EXPECT_EQ(rank3["passes"]["1F"], 20);
  EXPECT_EQ(rank3["step_s"], json_of({kV3, "--hardware", kH800})["step_s"]);
  for (const char* rows : {"rank=16", "rank=-1", "rank=", "3", "rank=3x"}) {
    EXPECT_THAT(refusal_of("simulate", {kV3, "--hardware", kH800, "--rows", rows}),
                HasSubstr("write rank=R with a pipeline rank from 0 to 15"));
  }
}

TEST(SimulateCommand, PublishedFiguresOnlyForTheJobTheyAreOf) {
  EXPECT_TRUE(
      json_of({kV3, "--hardware", kH800, "--set", "train.global_batch_size=30720"})["published"]
          .is_null());
  EXPECT_TRUE(json_of({kV3, "--hardware", kH800, "--set", "model.num_hidden_layers=60", "--set",
                       "topology.layers_per_stage=[]"})["error"]
                  .is_null());
  EXPECT_FALSE(json_of({kV3, "--hardware", kH800, "--rates", "cutlass"})["published"].is_null());
}

TEST(SimulateCommand, AnotherSystemIsAConfigAway) {
  const json out =
      json_of({kV3, "--hardware", kH800, "--set", "precision.recipe=bf16", "--set",
               "topology.expert_parallel_size=8", "--set", "schedule.name=zb1p", "--set",
               "topology.layers_per_stage=[]", "--set", "topology.pipeline_parallel_size=8",
               "--set", "model.num_hidden_layers=24", "--set", "model.n_routed_experts=64"});
  EXPECT_GT(out["step_s"].get<double>(), 1);
  EXPECT_EQ(out["passes"]["1F1B"], 0);
  EXPECT_EQ(out["memory"].size(), 8u);
}

// The cells of a row of the first table of docs/simulation.md.
std::vector<std::string> documented(const std::string& part) {
  const std::string text = read_file(SLUICE_CONFIGS "/../docs/simulation.md");
  const std::string begin = "\n| " + part + " |";
  std::size_t at = text.find(begin);
  if (at == std::string::npos) return {};
  at += begin.size();
  std::vector<std::string> cells;
  for (const std::size_t end = text.find('\n', at); at < end;) {
    const std::size_t bar = text.find('|', at);
    cells.push_back(text.substr(at + 1, bar - at - 2));
    at = bar + 1;
  }
  return cells;
}

TEST(SimulateCommand, TheDocumentedTableIsWhatItPrints) {
  constexpr const char* kParts[] = {"1F", "bubble", "1B", "1W", "1F1B", "optimizer"};
  const std::string rates[] = {"trace", "deepgemm", "cutlass"};
  for (std::size_t column = 0; column < 3; ++column) {
    const json out = json_of({kV3, "--hardware", kH800, "--rates", rates[column]});
    const auto shown = [](const json& error) {
      return fmt::format("{:+.1f} %", error.get<double>() * 100);
    };
    for (const char* part : kParts) {
      const auto cells = documented(part);
      ASSERT_EQ(cells.size(), 5u) << part;
      EXPECT_EQ(cells[column + 1], shown(out["error"]["parts"][part])) << part;
    }
    EXPECT_EQ(documented("step")[column + 1], shown(out["error"]["step_s"]));
    EXPECT_EQ(documented("tokens a day")[column + 1], shown(out["error"]["tokens_per_day"]));
  }
}

TEST(SimulateCommand, WhatIfs) {
  const json out = json_of({kV3, "--hardware", kH800, "--what-if"});
  EXPECT_GE(out["what_if"].size(), 8u);
  EXPECT_EQ(out["what_if"][0]["step_s"], out["step_s"]);
  for (const json& what_if : out["what_if"]) {
    const bool fewer_left = what_if["name"] == "32 SMs for communication";
    if (fewer_left) {
      EXPECT_GT(what_if["step_s"], out["step_s"]);
    } else {
      EXPECT_LE(what_if["step_s"], out["step_s"]);
    }
  }
}

// The same actors that train, over the links of the hardware file.
TEST(SimulateCommand, DeepSeekV3ByItsActors) {
  for (const char* run_ahead : {"0", "1"}) {
    const json out = json_of({kV3, "--hardware", kH800, "--executor", "actors", "--set",
                              std::string("schedule.run_ahead=") + run_ahead});
    const json& actors = out["actors"];
    EXPECT_GT(actors["events"], 500'000);
    EXPECT_NEAR(actors["step_s"].get<double>() / out["published"]["step_s"].get<double>(), 1, 0.11);
    EXPECT_NEAR(actors["difference"].get<double>(), 0, 0.06);
    EXPECT_LT(actors["busy_s"], actors["step_s"]);
    EXPECT_LT(actors["seconds"], 10);
  }
  EXPECT_FALSE(json_of({kV3, "--hardware", kH800}).contains("actors"));
}

// Nothing to transfer or to wait for, and as many SMs beside communication as without: what is left
// is the sum of all kernels.
TEST(SimulateCommand, OneRanksActorsTakeTheSumOfTheirKernels) {
  const json out =
      json_of({kV3, "--hardware", kH800, "--rates", "deepgemm", "--executor", "actors", "--set",
               "topology.pipeline_parallel_size=1", "--set", "topology.expert_parallel_size=1",
               "--set", "topology.data_parallel_size=1", "--set", "topology.layers_per_stage=[]",
               "--set", "schedule.name=1f1b", "--set", "train.global_batch_size=4"});
  EXPECT_NEAR(out["actors"]["difference"].get<double>(), 0, 1e-3);
  EXPECT_NEAR(out["actors"]["busy_s"].get<double>() + out["parts"]["optimizer"].get<double>(),
              out["actors"]["step_s"].get<double>(), 1e-3);
}

// How near it comes is tested in recorded_times_live_test.cpp.
TEST(SimulateCommand, FromARecordingOfThisMachine) {
  const SmallRun run;
  const std::string recording = (run.directory("run") / "recording").string();
  Arguments train = run.train_arguments("run", {"topology.pipeline_parallel_size=2"});
  const std::string config = train.at(1);
  train.insert(train.end(), {"--record", recording});
  const ChildResult trained = run_program(train);
  ASSERT_EQ(trained.exit_code, 0) << describe(trained);
  const json same =
      json_of({config, "--from-trace", recording, "--set", "topology.pipeline_parallel_size=2"});
  EXPECT_GT(same["step_s"], 0);
  EXPECT_EQ(same["step_s"], same["recording"]["predicted_s"]);
  EXPECT_GE(same["recording"]["steps"], 3);
  EXPECT_TRUE(same["estimated"].empty());
  const json other = json_of({config, "--from-trace", recording, "--set", "schedule.name=zb1p"});
  EXPECT_FALSE(other["estimated"].empty());
  EXPECT_THAT(output_of("simulate", {config, "--from-trace", recording}),
              HasSubstr("by its own times"));
  EXPECT_THAT(refusal_of("simulate",
                         {config, "--from-trace", recording, "--set", "train.sequence_length=9"}),
              HasSubstr("train.sequence_length is 9"));
}

TEST(SimulateCommand, BadInput) {
  EXPECT_THAT(refusal_of("simulate", {kV3}), HasSubstr("--hardware FILE, or --from-trace FOLDER"));
  EXPECT_THAT(refusal_of("simulate", {kV3, "--hardware", kH800, "--from-trace", "x"}),
              HasSubstr("excludes"));
  EXPECT_THAT(refusal_of("simulate", {kV3, "--hardware", kH800, "--rates", "guess"}),
              HasSubstr("there are cutlass, deepgemm, trace"));
  EXPECT_THAT(refusal_of("simulate", {kV3, "--hardware", kH800, "--expert-load", "0.5"}),
              HasSubstr("expert load 0.5"));
  EXPECT_THAT(refusal_of("simulate",
                         {kV3, "--hardware", kH800, "--set", "topology.expert_parallel_size=6"}),
              HasSubstr("6, which does not divide the model's 256"));
  EXPECT_THAT(refusal_of("simulate", {kV3, "--hardware", kH800, "--set", "precision.recipe=fp32"}),
              HasSubstr("use bf16 or fp8"));
  EXPECT_THAT(refusal_of("simulate", {SLUICE_CONFIGS "/quickstart.toml", "--hardware", kH800}),
              HasSubstr("precision.recipe is fp32"));
}

// What never ran is looked at as what did. Some of its tasks take no time at all.
TEST(SimulateCommand, AStepOfActorsIsRecorded) {
  const TemporaryFolder folder;
  const std::string recording = folder.path() / "v3", page = folder.path() / "v3.json";
  EXPECT_THAT(output_of("simulate", {kV3, "--hardware", kH800, "--record", recording}),
              HasSubstr("sluice trace report " + recording));
  const ChildResult report = run_program({"trace", "report", recording, "--json"});
  ASSERT_EQ(report.exit_code, 0) << describe(report);
  const json seen = json::parse(report.out);
  EXPECT_EQ(seen["virtual_time"], true);
  std::size_t computing = 0;
  for (const json& lane : seen["lanes"]) computing += lane["computes"].get<bool>();
  EXPECT_EQ(computing, 16u);
  ASSERT_EQ(seen["steps"].size(), 2u);
  const json out = json_of({kV3, "--hardware", kH800, "--executor", "actors"});
  const double optimizer_s = out["parts"]["optimizer"];
  EXPECT_NEAR(seen["steps"][1]["seconds"].get<double>(),
              out["actors"]["step_s"].get<double>() - optimizer_s, 1e-3);
  const ChildResult exported = run_program({"trace", "export", recording, "--out", page});
  EXPECT_EQ(exported.exit_code, 0) << describe(exported);
  const ChildResult replay = run_program({"replay", recording});
  EXPECT_EQ(replay.exit_code, 2) << describe(replay);
  EXPECT_THAT(replay.error, HasSubstr("there is nothing to compute again"));
}

// A live run cannot do all that can be simulated.
TEST(SimulateCommand, WhatIsSimulatedOnlyIsRefusedByOthers) {
  const ChildResult plan = run_program({"plan", kV3});
  EXPECT_EQ(plan.exit_code, 2);
  EXPECT_THAT(plan.error, HasSubstr("precision.recipe is fp8, which is simulated only"));
  const ChildResult bench = run_program({"bench", "gemm", "--set", "precision.recipe=fp8"});
  EXPECT_EQ(bench.exit_code, 2);
  EXPECT_THAT(bench.error, HasSubstr("fp8, which is simulated only"));
}

}  // namespace
}  // namespace sluice::test
