// Wishes change what they name and nothing else.
#include "graph/cost/what_if.hpp"

#include <gtest/gtest.h>

#include "tests/graph/cost/jobs.hpp"

namespace sluice::cost {
namespace {

const WhatIf& named(const std::vector<WhatIf>& all, std::string_view name) {
  for (const WhatIf& what_if : all) {
    if (what_if.name == name) return what_if;
  }
  ADD_FAILURE() << name;
  return all.front();
}

TEST(WhatIf, LinksTwiceAsFastHalveTransfers) {
  const Job job = test::deepseek_v3();
  const Hardware base = test::h800("trace");
  const auto all = what_ifs(job, base);
  const UnitTimes before = unit_times(Unit::kMoeLayer, job, base);
  const UnitTimes after = unit_times(Unit::kMoeLayer, job, named(all, "links x2").hardware);
  const double latency = base.ib_latency_us * 1e-6;
  for (const Task task : {Task::kDispatchForward, Task::kCombineBackward}) {
    const auto at = static_cast<std::size_t>(task);
    EXPECT_NEAR(2 * (after.alone[at] - latency), before.alone[at] - latency, 1e-12);
  }
  const auto attention = static_cast<std::size_t>(Task::kAttentionForward);
  EXPECT_EQ(after.alone[attention], before.alone[attention]);
}

TEST(WhatIf, FewerSmsForCommunicationShortenPairs) {
  const Job job = test::deepseek_v3();
  for (const char* rates : {"trace", "deepgemm"}) {
    const auto all = what_ifs(job, test::h800(rates));
    const auto pair = [&](std::string_view name) {
      return test::step_of(job, named(all, name).hardware).stages[7].pair.seconds;
    };
    EXPECT_LT(pair("0 SMs for communication"), pair("10 SMs for communication"));
    EXPECT_LT(pair("10 SMs for communication"), pair("as described"));
    EXPECT_LT(pair("as described"), pair("32 SMs for communication"));
  }
}

// Promotion is what FP8 loses against BF16's share of its peak; BF16 products stay.
TEST(WhatIf, AccumulationChangesFp8Alone) {
  Job job = test::deepseek_v3();
  const auto all = what_ifs(job, test::h800("trace"));
  const Hardware& wished = named(all, "FP8 accumulation").hardware;
  EXPECT_LT(wished.rates.fp8.block_us, all.front().hardware.rates.fp8.block_us);
  job.recipe = Recipe::kBf16;
  EXPECT_EQ(test::step_of(job, wished).seconds, test::step_of(job, all.front().hardware).seconds);
}

}  // namespace
}  // namespace sluice::cost
