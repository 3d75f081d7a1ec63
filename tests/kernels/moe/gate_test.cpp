// The gate against DeepSeek's own code, a plain sort, finite differences, ties and non-numbers; the
// balance loss against its definition; every kernel set bit for bit.
#include "kernels/moe/gate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/base/random.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/finite_difference.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;
using Doubles = std::span<const double>;

struct Gated {
  TestMatrix scores;
  std::vector<std::int32_t> experts;
  TestMatrix weights;
};

Gated run(const ComputeContext& context, const GateDesc& desc, const TestMatrix& logits,
          std::span<const float> bias) {
  Gated out{TestMatrix(DType::kF32, logits.rows(), desc.experts),
            std::vector<std::int32_t>(static_cast<std::size_t>(logits.rows() * desc.top_k), -1),
            TestMatrix::vector(logits.rows() * desc.top_k)};
  gate(context, desc, logits.view(), bias, out.scores.view(), out.experts, out.weights.values());
  return out;
}

TEST(Gate, MatchesDeepSeek) {
  std::ifstream file(SLUICE_TEST_DATA "/deepseek/gate.json");
  const nlohmann::json oracle = nlohmann::json::parse(file);
  bool all_negative = false;
  ASSERT_EQ(oracle["cases"].size(), 5u);
  for (const auto& c : oracle["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const GateDesc desc{c["n_experts"],  c["top_k"], c["n_group"],
                        c["topk_group"], true,       c["route_scale"]};
    const auto bias = c["bias"].get<std::vector<float>>();
    all_negative |= std::all_of(bias.begin(), bias.end(), [](float b) { return b < 0; });
    const auto rows = static_cast<std::int64_t>(c["logits"].size());
    const TestMatrix logits(DType::kF32, rows, desc.experts);
    std::vector<std::int32_t> experts;
    std::vector<double> weights;
    for (std::size_t t = 0; t < c["logits"].size(); ++t) {
      for (std::int64_t e = 0; e < desc.experts; ++e) {
        logits.set(static_cast<std::int64_t>(t), e, c["logits"][t][static_cast<std::size_t>(e)]);
      }
      std::vector<std::pair<std::int32_t, double>> chosen;
      for (std::size_t k = 0; k < c["indices_desc"][t].size(); ++k) {
        chosen.emplace_back(c["indices_desc"][t][k], c["weights"][t][k]);
      }
      std::sort(chosen.begin(), chosen.end());
      for (const auto& [expert, weight] : chosen) {
        experts.push_back(expert);
        weights.push_back(weight);
      }
    }
    test::for_each_context([&](const TestContext& context) {
      const Gated got = run(context, desc, logits, bias);
      EXPECT_EQ(got.experts, experts);
      EXPECT_TRUE(test::all_close(weights, got.weights.view(), {1e-6, 1e-6, 1e-6}));
    });
  }
  EXPECT_TRUE(all_negative);
}

// Sort everything, as the definition reads.
std::vector<std::int32_t> sorted_choice(const GateDesc& desc, std::span<const float> c) {
  const auto per_group = static_cast<std::size_t>(desc.experts / desc.groups);
  std::vector<double> group_scores;
  for (std::size_t g = 0; g < static_cast<std::size_t>(desc.groups); ++g) {
    std::vector<float> members(c.begin() + static_cast<std::ptrdiff_t>(g * per_group),
                               c.begin() + static_cast<std::ptrdiff_t>((g + 1) * per_group));
    std::sort(members.rbegin(), members.rend());
    group_scores.push_back(members.size() == 1 ? members[0] : members[0] + members[1]);
  }
  const auto best = [](std::size_t n, std::int64_t count, const auto& key) {
    std::vector<std::int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) > key(b); });
    order.resize(static_cast<std::size_t>(count));
    std::sort(order.begin(), order.end());
    return order;
  };
  const auto groups = best(group_scores.size(), desc.groups_kept, [&](std::int32_t g) {
    return group_scores[static_cast<std::size_t>(g)];
  });
  return best(c.size(), desc.top_k, [&](std::int32_t e) {
    const auto group = static_cast<std::int32_t>(static_cast<std::size_t>(e) / per_group);
    const bool kept = std::binary_search(groups.begin(), groups.end(), group);
    return kept ? c[static_cast<std::size_t>(e)] : -std::numeric_limits<float>::infinity();
  });
}

const GateDesc kDescs[] = {
    {8, 2, 4, 2, true, 2.5f},   {256, 8, 8, 4, true, 2.5f}, {6, 3, 1, 1, false, 1.0f},
    {12, 5, 4, 2, false, 1.5f}, {9, 3, 9, 4, true, 1.0f},   {17, 17, 1, 1, true, 1.0f},
    {1, 1, 1, 1, true, 1.0f},   {20, 4, 2, 1, true, 16.0f},
};

TEST(Gate, ChoosesAsASortWould) {
  for (const GateDesc& desc : kDescs) {
    const TestMatrix logits = TestMatrix::random(DType::kF32, 50, desc.experts, 1);
    const TestMatrix bias = TestMatrix::random_vector(desc.experts, 2, 0.3f);
    const Gated got = run(TestContext(), desc, logits, bias.values());
    for (std::int64_t t = 0; t < 50; ++t) {
      std::vector<float> c;
      for (std::int64_t e = 0; e < desc.experts; ++e) {
        EXPECT_NEAR(got.scores.at(t, e), 1 / (1 + std::exp(-static_cast<double>(logits.at(t, e)))),
                    1e-6);
        c.push_back(got.scores.at(t, e) + bias.at(0, e));
      }
      const auto first = got.experts.begin() + t * desc.top_k;
      EXPECT_EQ(std::vector<std::int32_t>(first, first + desc.top_k), sorted_choice(desc, c));
    }
  }
}

TEST(Gate, TiesGoToTheLowerIndex) {
  const TestMatrix logits(DType::kF32, 2, 12);  // all equal
  const Gated got = run(TestContext(), {12, 3, 4, 2, true, 1.0f}, logits, {});
  EXPECT_EQ(got.experts, (std::vector<std::int32_t>{0, 1, 2, 0, 1, 2}));
  EXPECT_FLOAT_EQ(got.weights.at(0, 0), 1.0f / 3);
}

TEST(Gate, OfEqualsTheHigherIndexLeavesFirst) {
  const TestMatrix logits(DType::kF32, 1, 4);
  logits.set(0, 3, 1);  // comes last and displaces one of three equals
  EXPECT_EQ(run(TestContext(), {4, 3, 1, 1, true, 1.0f}, logits, {}).experts,
            (std::vector<std::int32_t>{0, 1, 3}));
  EXPECT_EQ(run(TestContext(), {4, 2, 4, 2, true, 1.0f}, logits, {}).experts,
            (std::vector<std::int32_t>{0, 3}));
}

TEST(Gate, NaNAndInfinityStillGiveDifferentExperts) {
  const TestMatrix logits(DType::kF32, 3, 8);
  for (std::int64_t e = 0; e < 8; ++e) {
    logits.set(0, e, std::numeric_limits<float>::quiet_NaN());
    logits.set(1, e, e == 5 ? 1.0f : std::numeric_limits<float>::quiet_NaN());
    logits.set(2, e, -std::numeric_limits<float>::infinity());
  }
  const Gated got = run(TestContext(), {8, 2, 4, 2, true, 1.0f}, logits, {});
  for (std::size_t t = 0; t < 3; ++t) {
    EXPECT_LT(got.experts[2 * t], got.experts[2 * t + 1]);
    EXPECT_GE(got.experts[2 * t], 0);
    EXPECT_LT(got.experts[2 * t + 1], 8);
  }
  EXPECT_NEAR(got.weights.at(0, 4), 0.0f, 1e-15f);  // all scores vanish: so do the weights
}

// The weights as a function of the logits, for a fixed choice.
double weighted_sum(const GateDesc& desc, Doubles logits, std::span<const std::int32_t> experts,
                    Doubles dweights) {
  double total = 0;
  const auto k_count = static_cast<std::size_t>(desc.top_k);
  for (std::size_t t = 0; t * k_count < experts.size(); ++t) {
    const auto score = [&](std::size_t k) {
      const auto e = static_cast<std::size_t>(experts[t * k_count + k]);
      return 1 / (1 + std::exp(-logits[t * static_cast<std::size_t>(desc.experts) + e]));
    };
    double sum = 0;
    for (std::size_t k = 0; k < k_count; ++k) sum += score(k);
    if (!desc.normalize) sum = 1;
    for (std::size_t k = 0; k < k_count; ++k) {
      total += dweights[t * k_count + k] * score(k) / sum * static_cast<double>(desc.scaling);
    }
  }
  return total;
}

TEST(GateBackward, FollowsFiniteDifferences) {
  for (const GateDesc& desc : kDescs) {
    const TestMatrix logits = TestMatrix::random(DType::kF32, 4, desc.experts, 1);
    const TestMatrix dweights = TestMatrix::random_vector(4 * desc.top_k, 3);
    const Gated forward = run(TestContext(), desc, logits, {});
    const auto want = test::numeric_gradient(
        [&](Doubles at) { return weighted_sum(desc, at, forward.experts, dweights.doubles()); },
        logits.doubles());
    const auto got = test::expect_same_bits([&](const ComputeContext& context) {
      TestMatrix dlogits = TestMatrix::random(DType::kF32, 4, desc.experts, 9);  // overwritten
      gate_backward(context, desc, forward.scores.view(), forward.experts, dweights.values(),
                    dlogits.view());
      return std::vector<TestMatrix>{dlogits};
    });
    const double scale = static_cast<double>(desc.scaling);
    EXPECT_TRUE(test::all_close(want, got[0].view(), {2e-6 * scale, 1e-5, 1e-5}));
  }
}

// sum over sequences of sum_i f_i P_i, f held fixed.
double balance(const GateDesc& desc, std::int64_t sequences, Doubles logits, Doubles fractions) {
  const auto experts = static_cast<std::size_t>(desc.experts);
  const std::size_t tokens = logits.size() / experts;
  const std::size_t length = tokens / static_cast<std::size_t>(sequences);
  double total = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    std::vector<double> s;
    for (std::size_t e = 0; e < experts; ++e)
      s.push_back(1 / (1 + std::exp(-logits[t * experts + e])));
    const double sum = std::accumulate(s.begin(), s.end(), 0.0);
    for (std::size_t e = 0; e < experts; ++e) {
      total += fractions[t / length * experts + e] * s[e] / sum / static_cast<double>(length);
    }
  }
  return total;
}

std::vector<double> fractions_of(const GateDesc& desc, std::int64_t sequences,
                                 const TestMatrix& scores) {
  const std::int64_t length = scores.rows() / sequences;
  std::vector<double> f(static_cast<std::size_t>(sequences * desc.experts), 0.0);
  for (std::int64_t t = 0; t < scores.rows(); ++t) {
    std::vector<float> row;
    for (std::int64_t e = 0; e < desc.experts; ++e) row.push_back(scores.at(t, e));
    for (const auto e : sorted_choice({desc.experts, desc.top_k, 1, 1, true, 1}, row)) {
      f[static_cast<std::size_t>(t / length * desc.experts + e)] +=
          static_cast<double>(desc.experts) / static_cast<double>(desc.top_k * length);
    }
  }
  return f;
}

TEST(BalanceLoss, FollowsItsDefinitionAndFiniteDifferences) {
  for (const GateDesc& desc : kDescs) {
    for (const std::int64_t sequences : {1, 3}) {
      const TestMatrix logits = TestMatrix::random(DType::kF32, 6, desc.experts, 1);
      const Gated forward = run(TestContext(), desc, logits, {});
      const auto f = fractions_of(desc, sequences, forward.scores);
      const TestMatrix before = TestMatrix::random(DType::kF32, 6, desc.experts, 7);
      double loss = 0;
      const auto got = test::expect_same_bits([&](const ComputeContext& context) {
        TestMatrix dlogits = before.clone();
        loss = balance_loss(context, desc, sequences, forward.scores.view(), 0.5f, dlogits.view());
        EXPECT_EQ(loss, balance_loss(context, desc, sequences, forward.scores.view(), 0, {}));
        return std::vector<TestMatrix>{dlogits};
      });
      EXPECT_NEAR(loss, balance(desc, sequences, logits.doubles(), f), 1e-6);
      std::vector<double> want = test::numeric_gradient(
          [&](Doubles at) { return 0.5 * balance(desc, sequences, at, f); }, logits.doubles());
      for (std::size_t i = 0; i < want.size(); ++i) want[i] += before.doubles()[i];
      EXPECT_TRUE(test::all_close(want, got[0].view(), {1e-6, 1e-6, 1e-6}));
    }
  }
}

TEST(BalanceLoss, IsOnePerSequenceWhenBalanced) {
  // Every expert equally likely and equally often chosen: f = 1, P = 1 / E.
  const TestMatrix logits(DType::kF32, 8, 4);
  for (std::int64_t t = 0; t < 8; ++t) logits.set(t, t % 4, 1e-3f);
  const GateDesc desc{4, 1, 1, 1, true, 1};
  const Gated forward = run(TestContext(), desc, logits, {});
  EXPECT_NEAR(balance_loss(TestContext(), desc, 2, forward.scores.view(), 0, {}), 2.0, 1e-9);
}

TEST(Gate, SetsAndThreadsAgreeToTheBit) {
  for (const GateDesc& desc : kDescs) {
    for (const std::int64_t rows : {0, 1, 300}) {
      const TestMatrix logits = TestMatrix::random(DType::kF32, rows, desc.experts, 1, 3);
      const TestMatrix bias = TestMatrix::random_vector(desc.experts, 2, 0.3f);
      const Gated want = run(TestContext(), desc, logits, bias.values());
      test::expect_same_bits([&](const ComputeContext& context) {
        const Gated got = run(context, desc, logits, bias.values());
        EXPECT_EQ(got.experts, want.experts);
        return std::vector<TestMatrix>{got.scores, got.weights};
      });
    }
  }
}

TEST(GateCheck, RefusesUnreachableTopK) {
  const TestMatrix logits(DType::kF32, 1, 8);
  EXPECT_DEATH(run(TestContext(), {8, 5, 4, 2, true, 1}, logits, {}), "top 5 of 8");
}

}  // namespace
}  // namespace sluice::kernels
