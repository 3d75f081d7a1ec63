// The model against transformers' deepseek_v3 (and MTP, balance loss and bias update of the
// report): everything that an oracle folder holds. SLUICE_ORACLES names another folder of cases.
#include "tests/support/oracle.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "kernels/cpu/features.hpp"

namespace sluice::test {
namespace {

std::vector<std::filesystem::path> cases() {
  std::vector<std::filesystem::path> folders;
  const char* others = std::getenv("SLUICE_ORACLES");
  const std::filesystem::path root = others != nullptr ? others : SLUICE_TEST_DATA "/hf";
  for (const auto& entry : std::filesystem::directory_iterator(root))
    if (std::filesystem::exists(entry.path() / "expected.safetensors"))
      folders.push_back(entry.path());
  std::ranges::sort(folders);
  return folders;
}

/// Elements further away than limit · (1 or the largest expected one).
struct Difference {
  std::int64_t outside = 0;
  std::int64_t count = 0;
  float largest = 0;
};
Difference compare(const Tensor& actual, const Tensor& expected, float limit, bool relative) {
  Difference difference;
  const auto a = actual.values<const float>(), e = expected.values<const float>();
  if (a.size() != e.size()) return {static_cast<std::int64_t>(e.size()), 0, INFINITY};
  float scale = relative ? 0.0f : 1.0f;
  if (relative)
    for (const float x : e) scale = std::max(scale, std::abs(x));
  for (std::size_t i = 0; i < e.size(); ++i) {
    const float distance = std::abs(a[i] - e[i]);
    if (!(distance <= limit * scale)) ++difference.outside;
    if (!(distance <= difference.largest)) difference.largest = distance;
  }
  difference.count = static_cast<std::int64_t>(e.size());
  return difference;
}

void expect_close(const std::string& what, const Tensor& actual, const Tensor& expected,
                  float limit, bool relative = false) {
  const Difference d = compare(actual, expected, limit, relative);
  EXPECT_EQ(d.outside, 0) << what << ": largest difference " << d.largest;
}

void expect_close(const Losses& actual, const Losses& expected, double limit) {
  EXPECT_NEAR(actual.main, expected.main, limit);
  EXPECT_NEAR(actual.balance, expected.balance, limit);
  EXPECT_NEAR(actual.total, expected.total, limit);
  ASSERT_EQ(actual.mtp.size(), expected.mtp.size());
  for (std::size_t k = 0; k < actual.mtp.size(); ++k)
    EXPECT_NEAR(actual.mtp[k], expected.mtp[k], limit) << "depth " << k + 1;
}

class OracleTest : public testing::TestWithParam<std::filesystem::path> {
 protected:
  OracleTest()
      : team_(2),
        oracle_(GetParam()),
        model_(oracle_.config(), model::Recipe::kFp32,
               {.isa = kernels::best_isa(),
                .bf16 = {},
                .team = &team_,
                .allocator = &heap_allocator()},
               2) {
    oracle_.load(model_);
  }
  [[nodiscard]] Tensor expected(const std::string& name) const { return oracle_.expected(name); }

  kernels::ThreadTeam team_;
  Oracle oracle_;
  WholeModel model_;
};

TEST_P(OracleTest, HiddenStatesLogitsAndGates) {
  const Outputs outputs = model_.forward(expected("tokens"));
  for (std::size_t i = 0; i < outputs.hidden.size(); ++i)
    expect_close(fmt::format("hidden.{}", i), outputs.hidden[i],
                 expected(fmt::format("hidden.{}", i)), 2e-5f);
  expect_close("logits", outputs.logits, expected("logits"), 2e-5f);
  for (std::size_t k = 0; k < outputs.mtp_logits.size(); ++k) {
    const std::string name = fmt::format("mtp_logits.{}", k + 1);
    expect_close(name, outputs.mtp_logits[k], expected(name), 2e-5f);
  }
  for (const auto& [layer, routing] : outputs.gates) {
    const std::string prefix = fmt::format("gate.{}.", layer);
    expect_close(prefix + "scores", routing.scores, expected(prefix + "scores"), 2e-5f);
    const Tensor experts = expected(prefix + "experts");
    EXPECT_TRUE(std::ranges::equal(routing.experts.values<const std::int32_t>(),
                                   experts.values<const std::int32_t>()))
        << prefix << "experts";
  }
}

TEST_P(OracleTest, LossesAndGradients) {
  const Losses losses =
      model_.forward_backward(expected("tokens"), {}, expected("tokens").shape()[0]);
  expect_close(losses, losses_of(oracle_.numbers()), 1e-5);
  for (const auto& [name, parameter] : model_.parameters()) {
    if (parameter->kind == model::ParameterKind::kGateBias) continue;
    expect_close("grad." + name, parameter->gradient, expected("grad." + name), 5e-5f, true);
  }
}

TEST_P(OracleTest, FourStepsOfTraining) {
  if (!oracle_.numbers().contains("train")) GTEST_SKIP() << "no training in this case";
  for (std::size_t step = 0; step < oracle_.numbers()["train"].size(); ++step) {
    const nlohmann::json& numbers = oracle_.numbers()["train"][step];
    const StepResult result =
        model_.train_step(expected(fmt::format("train.{}.tokens", step)), {}, 1);
    expect_close(result.losses, losses_of(numbers), 1e-5);
    EXPECT_NEAR(result.gradient_norm, numbers["grad_norm"].get<double>(), 1e-4);
    for (const auto& [layer, violation] : numbers["max_violation"].items())
      EXPECT_NEAR(result.max_violation.at(std::stoll(layer)), violation.get<double>(), 1e-5);
  }
  std::int64_t outside = 0, count = 0;
  for (const auto& [name, parameter] : model_.parameters()) {
    const Difference d = compare(parameter->master, expected("after." + name), 2e-5f, false);
    outside += d.outside;
    count += d.count;
  }
  EXPECT_LE(outside, count / 10000) << "of " << count << " parameters";
}

TEST_P(OracleTest, GreedyTextOverTheLatentCache) {
  const Tensor greedy = expected("greedy");
  const auto text = greedy.values<const std::int32_t>();
  EXPECT_EQ(model_.generate({text.begin(), text.begin() + 8}, 24),
            std::vector<std::int32_t>(text.begin(), text.end()));
}

INSTANTIATE_TEST_SUITE_P(Hf, OracleTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.filename().string(); });

}  // namespace
}  // namespace sluice::test
