// DeepSeek-V3's step against the published one (arXiv 2505.09343): nothing here was fitted to it.
#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/graph/cost/jobs.hpp"

namespace sluice::cost {
namespace {

constexpr double kStep = 19.926, kForward = 1.13, kBackward = 1.99, kWeight = 0.48, kPair = 13.95,
                 kBubble = 2.06, kOptimizer = 0.29;

double error(double predicted, double published) { return predicted / published - 1; }

TEST(PublishedStep, PassesOfEachRankAreExact) {
  const Step step = test::step_of(test::deepseek_v3(), test::h800("trace"));
  for (std::int64_t rank = 0; rank < 16; ++rank) {
    const RankRows& rows = step.ranks[static_cast<std::size_t>(rank)];
    const std::int64_t h = std::min(rank, 15 - rank);
    const std::int64_t split = h == 7 ? 1 : 0;  // the middle ranks run their first pair in two
    EXPECT_EQ(rows.forward.count, 23 - h + split);
    EXPECT_EQ(rows.backward.count, 23 - h + split);
    EXPECT_EQ(rows.weight.count, 15 - h);
    EXPECT_EQ(rows.pair.count, 97 + h - split);
  }
}

TEST(PublishedStep, TraceRatesWithinTheBars) {
  const Step step = test::step_of(test::deepseek_v3(), test::h800("trace"));
  const RankRows& rank0 = step.ranks[0];
  EXPECT_NEAR(error(step.seconds, kStep), 0, 0.11);
  EXPECT_NEAR(error(rank0.forward.seconds, kForward), 0, 0.10);
  EXPECT_NEAR(error(rank0.backward.seconds, kBackward), 0, 0.10);
  EXPECT_NEAR(error(rank0.weight.seconds, kWeight), 0, 0.10);
  EXPECT_NEAR(error(rank0.pair.seconds + rank0.bubble, kPair + kBubble), 0, 0.12);
  EXPECT_NEAR(error(rank0.bubble, kBubble), 0, 0.20);
  EXPECT_NEAR(error(step.optimizer, kOptimizer), 0, 0.25);
}

TEST(PublishedStep, PublishedRatesAloneWithinTheirWiderBars) {
  for (const char* rates : {"deepgemm", "cutlass"}) {
    const Step step = test::step_of(test::deepseek_v3(), test::h800(rates));
    EXPECT_NEAR(error(step.seconds, kStep), 0, 0.25) << rates;
    EXPECT_NEAR(error(step.ranks[0].forward.seconds, kForward), 0, 0.25) << rates;
    EXPECT_NEAR(error(step.ranks[0].backward.seconds, kBackward), 0, 0.25) << rates;
    EXPECT_NEAR(error(step.ranks[0].weight.seconds, kWeight), 0, 0.25) << rates;
    EXPECT_NEAR(error(step.ranks[0].bubble, kBubble), 0, 0.40) << rates;
  }
}

// The trace's pair took 128.5 ms of wall clock, 126.1 of computation and gaps.
TEST(PublishedStep, PairAgainstTheTrace) {
  const Step step = test::step_of(test::deepseek_v3(), test::h800("trace"));
  const double pair = step.stages[7].pair.seconds;
  EXPECT_NEAR(error(pair, 0.1285), 0, 0.03);
  EXPECT_NEAR(error(pair, 0.1261), 0, 0.01);
}

// Free of rates: the published rows are those of an edge rank.
TEST(PublishedStep, EdgeRankFitsTheRowsBetterThanOthers) {
  for (const char* rates : {"trace", "deepgemm", "cutlass"}) {
    const Step step = test::step_of(test::deepseek_v3(), test::h800(rates));
    const auto ratios = [&](std::size_t rank) {
      const RankRows& rows = step.ranks[rank];
      return std::abs(error(rows.forward.seconds / rows.backward.seconds, kForward / kBackward)) +
             std::abs(error(rows.weight.seconds / rows.backward.seconds, kWeight / kBackward));
    };
    EXPECT_LT(ratios(0), 0.13) << rates;
    EXPECT_GT(ratios(3), ratios(0)) << rates;
    EXPECT_GT(ratios(7), ratios(0)) << rates;
  }
}

// So is that the first and the last stage have one MoE layer each.
TEST(PublishedStep, OtherSplitsOfTheEdgesFail) {
  const Hardware hardware = test::h800("trace");
  const auto worst = [&](std::int64_t first, std::int64_t last) {
    Job job = test::deepseek_v3();
    job.layers_per_stage.front() = first;
    job.layers_per_stage.back() = last;
    const Step step = test::step_of(job, hardware);
    return std::max(std::abs(error(step.ranks[0].forward.seconds, kForward)),
                    std::abs(error(step.ranks[0].backward.seconds, kBackward)));
  };
  EXPECT_LT(worst(4, 1), 0.10);
  EXPECT_GT(worst(3, 2), 0.10);
  EXPECT_GT(worst(5, 0), 0.10);
}

TEST(PublishedStep, RowsAndOptimizerAreTheStep) {
  const Step step = test::step_of(test::deepseek_v3(), test::h800("trace"));
  for (const RankRows& rows : step.ranks) {
    EXPECT_NEAR(rows.forward.seconds + rows.backward.seconds + rows.weight.seconds +
                    rows.pair.seconds + rows.bubble + step.optimizer,
                step.seconds, 1e-6);
    EXPECT_LE(rows.pair_waits, rows.bubble);
  }
}

// Letters and digits in lower case: "Table~4" and "TABLE_4" read the same.
std::string letters_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string out;
  for (char c = 0; file.get(c);) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0) out += static_cast<char>(std::tolower(u));
  }
  return out;
}

TEST(PublishedStep, NoValueIsFromThePublishedRows) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SLUICE_CONFIGS)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(letters_of(entry.path()).find("table4"), std::string::npos) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 5);
}

}  // namespace
}  // namespace sluice::cost
