// Attention: the reference against the formula in fp64 and finite differences, every kernel set
// against the reference, bit for bit.
#include "kernels/attention/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/attention/attention_cases.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/finite_difference.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::all_close;
using test::TestContext;
using test::Tolerance;

constexpr Tolerance kFp32{3e-6, 3e-6, 2e-6};
constexpr Tolerance kBf16{4e-3, 1e-2, 6e-3};

enum Output { kOut, kLogSumExp, kDq, kDkv, kDkRope };

std::vector<TestMatrix> run(const ComputeContext& context, const AttentionDesc& d,
                            const Inputs& in) {
  const DType dtype = in.q.view().dtype;
  TestMatrix out(dtype, rows(d), in.dout.columns());
  const TestMatrix log_sum_exp = TestMatrix::vector(rows(d) * d.heads);
  TestMatrix dq(dtype, rows(d), in.q.columns()), dkv(dtype, rows(d), in.kv.columns());
  TestMatrix dk_rope(dtype, rows(d), d.rope);
  attention(context, d, in.q.view(), in.kv.view(), in.k_rope.view(), out.view(),
            log_sum_exp.values());
  attention_backward(context, d, in.q.view(), in.kv.view(), in.k_rope.view(), out.view(),
                     log_sum_exp.values(), in.dout.view(), dq.view(), dkv.view(), dk_rope.view());
  return {out, log_sum_exp, dq, dkv, dk_rope};
}

void expect_same_bits(const AttentionDesc& d, const Inputs& in) {
  SCOPED_TRACE(fmt::format("{} sequences of {}, {} heads of {} + {}, {}", d.sequences, d.length,
                           d.heads, d.nope, d.rope, d.value));
  test::expect_same_bits([&](const ComputeContext& context) { return run(context, d, in); });
}

void expect_forward(const AttentionDesc& d, const Inputs& in, Tolerance tolerance,
                    Tolerance log_tolerance = kFp32) {
  const std::vector<TestMatrix> got = run(TestContext(), d, in);
  const std::vector<double> q = in.q.doubles(), kv = in.kv.doubles(), k_rope = in.k_rope.doubles();
  const Formula formula{d, q, kv, k_rope};
  EXPECT_TRUE(all_close(formula.out(), got[kOut].view(), tolerance));
  EXPECT_TRUE(all_close(formula.log_sum_exp(), got[kLogSumExp].view(), log_tolerance));
}

constexpr AttentionDesc kSmall{2, 17, 3, 8, 4, 8, 0.25f};

AttentionDesc with_length(std::int64_t length) {
  AttentionDesc d = kSmall;
  d.length = length;
  return d;
}

TEST(Attention, ForwardFollowsTheFormula) {
  for (const std::int64_t length : {1, 2, 17, 60}) {
    expect_forward(with_length(length), Inputs(with_length(length)), kFp32);
    expect_forward(with_length(length), Inputs(with_length(length), DType::kBF16), kBf16);
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  AttentionDesc d = kSmall;
  d.scale = 40;  // scores of some hundreds, whose exponentials are infinite in fp32
  const Inputs in(d);
  expect_forward(d, in, {1e-3, 1e-3, 1e-4});
  expect_same_bits(d, in);
}

TEST(Attention, GradientsAgreeWithFiniteDifferences) {
  const AttentionDesc d{2, 5, 2, 3, 2, 4, 0.5f};
  const Inputs in(d);
  const std::vector<TestMatrix> got = run(TestContext(), d, in);
  const std::vector<double> q = in.q.doubles(), kv = in.kv.doubles(), k_rope = in.k_rope.doubles(),
                            dout = in.dout.doubles();
  constexpr Tolerance kTolerance{2e-6, 2e-6, 2e-6};
  const auto gradient = [&](const std::vector<double>& x, const auto& formula) {
    return test::numeric_gradient(
        [&](Doubles values) { return test::dot(dout, Formula(formula(values)).out()); }, x);
  };
  EXPECT_TRUE(all_close(gradient(q,
                                 [&](Doubles x) {
                                   return Formula{d, x, kv, k_rope};
                                 }),
                        got[kDq].view(), kTolerance));
  EXPECT_TRUE(all_close(gradient(kv,
                                 [&](Doubles x) {
                                   return Formula{d, q, x, k_rope};
                                 }),
                        got[kDkv].view(), kTolerance));
  EXPECT_TRUE(all_close(gradient(k_rope,
                                 [&](Doubles x) {
                                   return Formula{d, q, kv, x};
                                 }),
                        got[kDkRope].view(), kTolerance));
}

// What a query may not see does not reach it, not even as 0 · infinity.
TEST(Attention, LaterKeysDoNotReachEarlierQueries) {
  constexpr std::int64_t kFirstBad = 50;
  const AttentionDesc d{1, 70, 2, 8, 4, 8, 0.25f};
  const Inputs in(d), poisoned(d);
  for (const TestMatrix& m : {poisoned.kv, poisoned.k_rope}) {
    for (std::int64_t t = kFirstBad; t < d.length; ++t) {
      for (std::int64_t c = 0; c < m.columns(); ++c) m.set(t, c, c % 2 == 0 ? INFINITY : NAN);
    }
  }
  test::for_each_context([&](const TestContext& context) {
    const std::vector<TestMatrix> clean = run(context, d, in), got = run(context, d, poisoned);
    for (const Output output : {kOut, kDq}) {
      EXPECT_TRUE(test::same_bits(clean[output].view().rows_from(0, kFirstBad),
                                  got[output].view().rows_from(0, kFirstBad)));
    }
    EXPECT_FALSE(std::isfinite(got[kOut].at(kFirstBad, 0)));
  });
}

TEST(Attention, SetsAndThreadsAgreeForEveryLength) {
  for (const std::int64_t length : {0, 1, 5, 6, 7, 16, 17, 47, 48, 49, 64, 96, 97, 130}) {
    const AttentionDesc d = with_length(length);
    expect_same_bits(d, Inputs(d, DType::kF32, length % 3));
    expect_same_bits(d, Inputs(d, DType::kBF16, length % 3));
  }
}

TEST(Attention, SetsAndThreadsAgreeForEveryHeadSize) {
  for (const std::int64_t nope : {8, 13, 64}) {
    for (const std::int64_t rope : {0, 4, 8, 32}) {
      for (const std::int64_t value : {8, 24, 64, 90}) {
        const AttentionDesc d{1, 35, 2, nope, rope, value, 0.1f};
        expect_same_bits(d, Inputs(d));
      }
    }
  }
}

// Fewer heads than threads: queries and keys of one head are shared out.
TEST(Attention, SetsAndThreadsAgreeWhereThreadsShareAHead) {
  const AttentionDesc d{1, 421, 1, 24, 8, 24, 0.15f};
  expect_same_bits(d, Inputs(d));
}

TEST(Attention, ASecondCallTakesNoNewMemory) {
  const AttentionDesc d = with_length(60);
  const Inputs in(d);
  test::for_each_context([&](const TestContext& context) {
    run(context, d, in);
    const int blocks = context.allocator().new_blocks();
    run(context, d, in);
    EXPECT_EQ(context.allocator().new_blocks(), blocks);
  });
}

}  // namespace
}  // namespace sluice::kernels
