// The recipes learn alike: over 200 steps the loss of bf16 stays within 1 % of fp32's, on BF16
// products where the CPU has them and on widened ones.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

// Training losses, averaged over ten steps each.
std::vector<double> losses(const SmallRun& run, const std::string& name,
                           std::vector<std::string> sets) {
  sets.insert(sets.end(),
              {"train.steps=200", "train.validation_every=0", "train.warmup_steps=20",
               "train.constant_steps=180", "train.learning_rate=0.004", "train.sequence_length=32",
               "train.global_batch_size=4", "train.micro_batch_size=2"});
  const ChildResult trained = run.train(name, sets);
  EXPECT_EQ(trained.exit_code, 0) << describe(trained);
  constexpr std::size_t kWindow = 10;
  std::vector<double> sums;
  for (const std::string& line : metrics_of(run.directory(name))) {
    const auto object = nlohmann::json::parse(line);
    if (object["kind"] != "train") continue;
    sums.resize(object["step"].get<std::size_t>() / kWindow + 1);
    sums.back() += object["loss"].get<double>() / kWindow;
  }
  return sums;
}

TEST(Recipe, Bf16StaysWithinOnePercentOfFp32) {
  const SmallRun run;
  const auto fp32 = losses(run, "fp32", {"precision.recipe=fp32"});
  ASSERT_EQ(fp32.size(), 20u);
  EXPECT_LT(fp32.back(), 0.6 * fp32.front()) << "nothing was learned: nothing is compared";
  for (const char* products : {"auto", "off"}) {
    const auto bf16 = losses(run, std::string("bf16-") + products,
                             {"precision.recipe=bf16", std::string("device.bf16_dot=") + products});
    ASSERT_EQ(bf16.size(), fp32.size());
    for (std::size_t i = 0; i < fp32.size(); ++i)
      EXPECT_NEAR(bf16[i] / fp32[i], 1.0, 0.01) << products << ", steps from " << 10 * i;
    EXPECT_NE(bf16, fp32);
  }
}

}  // namespace
}  // namespace sluice::test
