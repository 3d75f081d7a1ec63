// A run that cannot fit is refused before it takes memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/engine/cluster.hpp"
#include "runtime/engine/process_memory.hpp"

namespace sluice::engine {
namespace {

TEST(Memory, ARunLargerThanTheMachineIsRefusedBeforeItTakesMemory) {
  ClusterOptions options;  // DeepSeek-V3 itself: 671e9 parameters with gradients and moments
  const std::int64_t before = resident_bytes_peak();
  const auto cluster = Cluster::create(options);
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(cluster.error().message, ::testing::HasSubstr("GB of memory"));
  EXPECT_LT(resident_bytes_peak() - before, 200 << 20);
}

TEST(Memory, LimitIsBetweenWhatWeHaveAndWhatNoMachineHas) {
  EXPECT_GT(memory_bytes_max(), resident_bytes());
  EXPECT_LT(memory_bytes_max(), std::int64_t{1} << 50);
}

}  // namespace
}  // namespace sluice::engine
