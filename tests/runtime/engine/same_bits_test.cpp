// DESIGN section 6: results are a function of config, seed and data alone. For one checkpoint and
// four training steps in fp32 every tensor has the same bits for any pipeline and expert layout,
// schedule, number of threads, kernel set, host, order of delivery, and for passes that run ahead
// or not.
#include <gtest/gtest.h>

#include "graph/schedule/csv.hpp"
#include "runtime/host/sim_host.hpp"
#include "tests/runtime/engine/probe_support.hpp"
#include "tests/support/under_sanitizer.hpp"

namespace sluice::engine {
namespace {

const std::string kMicro = std::string(SLUICE_TEST_DATA) + "/hf/micro";

class SameBits : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_oracle(kMicro);
    ASSERT_TRUE(opened) << opened.error().message;
    oracle_.emplace(std::move(*opened));
    base_ = run(oracle_->options);
    ASSERT_GT(base_.size(), 150u);
  }

  std::map<std::string, std::uint64_t> run(const ProbeOptions& options) {
    auto result = probe(oracle_->checkpoint, options);
    EXPECT_TRUE(result) << result.error().message;
    return result ? digests(*result) : std::map<std::string, std::uint64_t>{};
  }

  void expect_same(const ProbeOptions& options, const std::string& what) {
    const auto got = run(options);
    ASSERT_EQ(got.size(), base_.size()) << what;
    for (const auto& [name, digest] : base_) {
      ASSERT_EQ(got.at(name), digest) << what << ": " << name << " differs";
    }
  }

  std::optional<Oracle> oracle_;
  std::map<std::string, std::uint64_t> base_;
};

TEST_F(SameBits, EveryPipelineSize) {
  for (std::int32_t size = 2; size <= 3; ++size) {
    ProbeOptions options = oracle_->options;
    options.cluster.plan.pipeline_parallel_size = size;
    expect_same(options, fmt::format("pipeline_parallel_size {}", size));
  }
}

TEST_F(SameBits, EveryExpertSize) {
  for (const std::int32_t size : {2, 4, 8}) {
    ProbeOptions options = oracle_->options;
    options.cluster.plan.expert_parallel_size = size;
    expect_same(options, fmt::format("expert_parallel_size {}", size));
  }
}

TEST_F(SameBits, EverySchedule) {
  for (const char* schedule : {"gpipe", "1f1b"}) {
    ProbeOptions options = oracle_->options;
    options.cluster.plan.pipeline_parallel_size = 2;
    options.cluster.plan.schedule = schedule;
    expect_same(options, schedule);
  }
}

TEST_F(SameBits, AScheduleOfSomebodysFile) {
  ProbeOptions options = oracle_->options;
  const std::int32_t m = options.cluster.plan.micro_batches;
  std::string rows;  // GPipe on the first rank, 1F1B on the second
  for (std::int32_t i = 0; i < m; ++i) rows += fmt::format("0F{},", i);
  for (std::int32_t i = 0; i < m; ++i) rows += fmt::format(",0B{}", i);
  rows += "\n";
  for (std::int32_t i = 0; i < m; ++i) rows += fmt::format("{0}1F{1},1B{1}", i == 0 ? "" : ",", i);
  auto read = graph::parse_csv(rows, "mixed.csv");
  ASSERT_TRUE(read) << read.error().message;
  options.cluster.plan.pipeline_parallel_size = 2;
  options.cluster.plan.schedule_read = std::move(read->schedule);
  expect_same(options, "mixed.csv");
}

TEST_F(SameBits, RunningAheadOrNot) {
  for (const std::int32_t run_ahead : {0, 1, 3}) {
    ProbeOptions options = oracle_->options;
    options.cluster.plan.pipeline_parallel_size = 2;
    options.cluster.plan.expert_parallel_size = 2;
    options.cluster.plan.run_ahead = run_ahead;
    expect_same(options, fmt::format("run_ahead {}", run_ahead));
  }
}

TEST_F(SameBits, EveryThreadCount) {
  for (const int threads : {2, 3}) {
    ProbeOptions options = oracle_->options;
    options.cluster.device.threads = threads;
    expect_same(options, fmt::format("{} threads", threads));
  }
}

TEST_F(SameBits, EveryKernelSet) {
  for (const kernels::Isa isa : kernels::available_isas()) {
    ProbeOptions options = oracle_->options;
    options.cluster.device.isa = isa;
    expect_same(options, std::string(name_of(isa)));
  }
}

constexpr std::uint64_t kSeeds = test::kUnderSanitizer ? 100 : 1000;

// Simulated: other orders of delivery, task durations and delays for every seed, on lanes of their
// own.
TEST_F(SameBits, OneThousandInterleavings) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    ProbeOptions options = oracle_->options;
    options.greedy_tokens = seed % 50 == 0 ? 24 : 0;
    options.cluster.plan.pipeline_parallel_size = 1 + static_cast<std::int32_t>(seed % 3);
    options.cluster.plan.expert_parallel_size = 1 << (seed / 3 % 4);
    options.cluster.plan.schedule = seed % 2 == 0 ? "1f1b" : "gpipe";
    options.cluster.plan.run_ahead = static_cast<std::int32_t>(seed / 7 % 3);
    options.cluster.host = [seed](device::CpuDevice& device) {
      host::SimHost::Config config;
      config.seed = seed;
      config.compute = device.context();
      return std::make_unique<host::SimHost>(std::move(config));
    };
    const auto got = run(options);
    ASSERT_GT(got.size(), 150u);
    for (const auto& [name, digest] : got)
      ASSERT_EQ(base_.at(name), digest) << "seed " << seed << ": " << name << " differs";
  }
}

}  // namespace
}  // namespace sluice::engine
