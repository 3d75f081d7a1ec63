// Warm-up, constant and cosine, at their ends and in between.
#include "runtime/config/learning_rate.hpp"

#include <gtest/gtest.h>

namespace sluice::config {
namespace {

TrainSection schedule(std::int64_t warmup, std::int64_t constant, std::int64_t decay) {
  TrainSection train;
  train.learning_rate = 1.0;
  train.minimum_learning_rate = 0.1;
  train.warmup_steps = warmup;
  train.constant_steps = constant;
  train.decay_steps = decay;
  return train;
}

TEST(LearningRate, RisesLinearly) {
  const TrainSection train = schedule(4, 3, 10);
  EXPECT_DOUBLE_EQ(learning_rate_at(train, 0), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at(train, 1), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(train, 2), 0.75);
  EXPECT_DOUBLE_EQ(learning_rate_at(train, 3), 1.0);
}

TEST(LearningRate, StaysThenFallsAlongTheCosine) {
  const TrainSection train = schedule(4, 3, 10);
  for (std::int64_t step = 3; step <= 6; ++step) EXPECT_EQ(learning_rate_at(train, step), 1.0);
  EXPECT_NEAR(learning_rate_at(train, 11), 0.55, 1e-12);  // half of the cosine
  EXPECT_EQ(learning_rate_at(train, 16), 0.1);
  EXPECT_EQ(learning_rate_at(train, 1'000'000'000), 0.1);
  for (std::int64_t step = 6; step < 16; ++step) {
    EXPECT_GT(learning_rate_at(train, step), learning_rate_at(train, step + 1));
  }
}

TEST(LearningRate, PhasesMayBeAbsent) {
  EXPECT_EQ(learning_rate_at(schedule(0, 2, 0), 0), 1.0);
  EXPECT_EQ(learning_rate_at(schedule(0, 2, 0), 1), 1.0);
  EXPECT_EQ(learning_rate_at(schedule(0, 2, 0), 2), 0.1);
  EXPECT_EQ(learning_rate_at(schedule(1, 0, 1), 0), 1.0);
  EXPECT_EQ(learning_rate_at(schedule(1, 0, 1), 1), 0.1);
}

}  // namespace
}  // namespace sluice::config
