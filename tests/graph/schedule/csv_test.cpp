// The CSV of torch.distributed.pipelining: PyTorch's own files, the way there and back, bad files.
#include "graph/schedule/csv.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "graph/schedule/timing.hpp"

namespace sluice::graph {
namespace {

using testing::HasSubstr;

CsvSchedule parsed(std::string_view text) {
  auto read = parse_csv(text, "x.csv");
  EXPECT_TRUE(read) << (read ? "" : read.error().message);
  return std::move(*read);
}

CsvSchedule from_pytorch(const std::string& name) {
  std::ifstream file(std::string(SLUICE_TEST_DATA "/schedule/") + name + ".csv");
  std::stringstream text;
  text << file.rdbuf();
  return parsed(text.str());
}

void expect_equal(const Schedule& a, const Schedule& b) {
  EXPECT_EQ(a.placement, b.placement);
  EXPECT_EQ(a.programs, b.programs);
}

TEST(Csv, PyTorchsFilesAreOurSchedules) {
  expect_equal(from_pytorch("interleaved_1f1b_ranks4_stages8_mb8").schedule,
               *make_schedule("interleaved_1f1b", {4, 8, 2}));
  expect_equal(from_pytorch("zbv_ranks4_stages8_mb8").schedule, *make_schedule("zbv", {4, 8}));
  expect_equal(from_pytorch("dualpipev_ranks2_stages4_mb5").schedule,
               *make_schedule("dualpipev", {2, 5}));
}

TEST(Csv, PyTorchs1f1bIsReadAsItIsMeantAndSaysSo) {
  const CsvSchedule read = from_pytorch("1f1b_ranks4_stages4_mb8");
  expect_equal(read.schedule, *make_schedule("1f1b", {4, 8}));
  ASSERT_EQ(read.notes.size(), 1u);
  EXPECT_THAT(read.notes[0], HasSubstr("x.csv:4: forward passes 1 to 8 of stage 3 read as 0 to 7"));
}

TEST(Csv, ThereAndBackIsTheSame) {
  for (const std::string_view name : schedule_names()) {
    for (const std::int32_t ranks : {2, 4, 6}) {
      const Schedule schedule = *make_schedule(name, {ranks, 12});
      const CsvSchedule read = parsed(to_csv(schedule));
      SCOPED_TRACE(fmt::format("{} of {} ranks", name, ranks));
      expect_equal(read.schedule, schedule);
      EXPECT_TRUE(read.notes.empty());
    }
  }
}

TEST(Csv, EmptyCellsAreSteps) {
  EXPECT_EQ(to_csv(*make_schedule("1f1b", {2, 2})), "0F0,0F1,,0B0,,0B1\n,1F0,1B0,1F1,1B1\n");
  EXPECT_EQ(to_csv(*make_schedule("dualpipe", {2, 4})),
            "0F0,1F2,0F1,1B2,(1F3;0B0)OVERLAP_F_B,1B3,0I1,0W1\n"
            "0F2,1F0,0F3,1B0,(1F1;0B2)OVERLAP_F_B,1B1,0I3,0W3\n");
}

TEST(Csv, EveryWayToWriteIt) {
  const Schedule expected = *make_schedule("1f1b", {2, 2});
  for (const std::string_view text :
       {"0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1", "0F0,0F1,0B0,0B1\r\n1F0,1B0,1F1,1B1\r\n",
        "\xEF\xBB\xBF 0F0 , 0F1,,0B0,0B1,,\n,,1F0,1B0,\"1F1\",1B1\n\n \n",
        "0UNSHARD,0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1,0RESHARD,0REDUCE_GRAD\n"
        "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n"}) {
    expect_equal(parsed(text).schedule, expected);
  }
  const CsvSchedule pair = parsed("0F0,0F1,(0B0 ; 0F2)OVERLAP_F_B,0B1,0I2,0W2");
  EXPECT_TRUE(pair.schedule.programs[0][2].is_pair());
}

// Sizes that the CSV files lack; make_pytorch.py made them and compares some hundred more.
TEST(Csv, PyTorchsOrdersAreOurs) {
  std::ifstream file(SLUICE_TEST_DATA "/schedule/pytorch.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 12u);
  for (const auto& expected : cases) {
    const auto name = expected["schedule"].get<std::string>();
    const auto schedule = make_schedule(
        name, {expected["ranks"], expected["micro_batches"], expected["stages_per_rank"]});
    ASSERT_TRUE(schedule) << schedule.error().message;
    for (std::size_t r = 0; r < schedule->programs.size(); ++r) {
      EXPECT_EQ(to_string(schedule->programs[r], schedule->placement, static_cast<std::int32_t>(r)),
                expected["programs"][r].get<std::string>())
          << name << " rank " << r;
    }
  }
}

// Stages wherever their file puts them.
TEST(Csv, AnyPlacement) {
  const CsvSchedule read = parsed("1F0,1B0\n0F0,2F0,2B0,0B0\n");
  EXPECT_EQ(read.schedule.placement.stages(), 3);
  EXPECT_EQ(read.schedule.placement.holder(0, 2).rank, 1);
  EXPECT_EQ(to_csv(read.schedule), ",1F0,,,1B0\n0F0,,2F0,2B0,,0B0\n");
}

TEST(Csv, BadFilesAreNamedByLineAndCell) {
  const auto message = [](std::string_view text) {
    const auto read = parse_csv(text, "x.csv");
    return read ? std::string("read") : read.error().message;
  };
  EXPECT_THAT(message(""), HasSubstr("x.csv: no rows"));
  EXPECT_THAT(message(" \n\n"), HasSubstr("x.csv: no rows"));
  EXPECT_THAT(message("0F0,0B0\n\n1F0,1B0"), HasSubstr("x.csv:2: a rank without a pass"));
  EXPECT_THAT(message("0F0,0B0\n,,\n1F0,1B0"), HasSubstr("x.csv:2: a rank without a pass"));
  EXPECT_THAT(message("0F0,0B0\n1F0,1X0"), HasSubstr("x.csv:2:2: \"1X0\" is no pass; write stage"));
  for (const std::string_view cell : {"F0",
                                      "0F",
                                      "0F-1",
                                      "-1F0",
                                      "0f0",
                                      "0F0x",
                                      "0F0 0B0",
                                      "0F99999999999",
                                      "99999999999F0",
                                      "0FOO",
                                      "0SEND_Fx",
                                      "(",
                                      "()OVERLAP_F_B",
                                      "(0F1;)OVERLAP_F_B",
                                      "(0F1;0B0)",
                                      "(0F1;0B0",
                                      "(0F1;0B0)OVERLAP",
                                      "((0F1;0B0)OVERLAP_F_B",
                                      "\"0F0",
                                      "(0SEND_F0;0B0)OVERLAP_F_B"}) {
    EXPECT_THAT(message(fmt::format("0F0,,{}", cell)), HasSubstr("x.csv:1:3: ")) << cell;
  }
  EXPECT_THAT(message("0F0,(0F1;0I0)OVERLAP_F_B"), HasSubstr("x.csv:1:2: (0F1;0I0)OVERLAP_F_B"));
  EXPECT_THAT(message("0F0,0F0,0B0"), HasSubstr("x.csv:1:2: 0F0 is also in line 1, cell 1"));
  EXPECT_THAT(message("0F0,0B0\n2F0,2B0"), HasSubstr("x.csv: 1F0 is missing"));
  EXPECT_THAT(message("0F0,0B0,0F2,0B2"), HasSubstr("x.csv: 0F1 is missing"));
  EXPECT_THAT(message("65535F1048575"), HasSubstr("x.csv: 0F0 is missing"));
  EXPECT_THAT(message("0F0"), HasSubstr("x.csv: rank 0: 0B0 is missing"));
  EXPECT_THAT(message("0F0,0I0"), HasSubstr("x.csv: rank 0: 0W0 is missing"));
  EXPECT_THAT(message("0B0,0F0"), HasSubstr("x.csv: rank 0: 0B0 comes before 0F0"));
  EXPECT_THAT(
      message("0F0,1B0\n1F0,0B0"),
      HasSubstr("x.csv:1:2: 1B0 is on the row of rank 0, its forward pass on that of rank 1"));
  EXPECT_THAT(message("0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1"),
              HasSubstr("x.csv: the ranks wait for each other in a circle"));
  EXPECT_THAT(message("0F0,1F1,0F2,1B1,0B0,0B2\n1F0,0F1,1F2,0B1,1B0,1B2"),
              HasSubstr("micro-batch 2 takes another way"));
  EXPECT_THAT(message("0F0,(0F1;0B1)OVERLAP_F_B,0B0\n"), HasSubstr("the same pair"));
}

}  // namespace
}  // namespace sluice::graph
