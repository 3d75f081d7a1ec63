// Absorbed attention against the naive form with the same weights, and its kernel sets bit for bit.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/attention/attention.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;

constexpr float kScale = 0.08f;

struct Case {
  std::int64_t heads, rank, rope, queries, length;
  DType dtype = DType::kF32;
};

TestMatrix run(const ComputeContext& context, const Case& c, const TestMatrix& q,
               const TestMatrix& cache) {
  TestMatrix out(c.dtype, c.queries, c.heads * c.rank);
  latent_attention(context, c.heads, c.rank, c.rope, kScale, q.view(), {cache.view(), c.length},
                   out.view());
  return out;
}

void expect_same_bits(const Case& c) {
  SCOPED_TRACE(fmt::format("{} heads, rank {} + {}, {} queries, {} rows", c.heads, c.rank, c.rope,
                           c.queries, c.length));
  constexpr std::int64_t kFreeRows = 9;  // a cache has room for more
  const TestMatrix q = TestMatrix::random(c.dtype, c.queries, c.heads * (c.rank + c.rope), 1);
  const TestMatrix cache = TestMatrix::random(c.dtype, c.length + kFreeRows, c.rank + c.rope, 2);
  test::expect_same_bits([&](const ComputeContext& context) -> std::vector<TestMatrix> {
    return {run(context, c, q, cache)};
  });
}

// A layer's weights and inputs in both forms: q_nope · (W_UK · c) = (W_UKᵀ · q_nope) · c.
struct BothForms {
  static constexpr AttentionDesc kDesc{1, 21, 3, 8, 4, 8, kScale};
  static constexpr std::int64_t kRank = 12;
  static constexpr std::int64_t kKvHead = kDesc.nope + kDesc.value;

  TestMatrix w = TestMatrix::random(DType::kF32, kDesc.heads* kKvHead, kRank, 1);
  TestMatrix cache = TestMatrix::random(DType::kF32, kDesc.length, kRank + kDesc.rope, 2);
  TestMatrix q =
      TestMatrix::random(DType::kF32, kDesc.length, kDesc.heads*(kDesc.nope + kDesc.rope), 3);
  TestMatrix k_rope{DType::kF32, kDesc.length, kDesc.rope};
  TestMatrix kv{DType::kF32, kDesc.length, kDesc.heads* kKvHead};
  TestMatrix absorbed{DType::kF32, kDesc.length, kDesc.heads*(kRank + kDesc.rope)};

  BothForms() {
    for (std::int64_t t = 0; t < kDesc.length; ++t) {
      for (std::int64_t c = 0; c < kDesc.rope; ++c) k_rope.set(t, c, cache.at(t, kRank + c));
      for (std::int64_t c = 0; c < kv.columns(); ++c) {
        float sum = 0;
        for (std::int64_t r = 0; r < kRank; ++r) sum += w.at(c, r) * cache.at(t, r);
        kv.set(t, c, sum);
      }
      for (std::int64_t h = 0; h < kDesc.heads; ++h) absorb(t, h);
    }
  }
  void absorb(std::int64_t t, std::int64_t h) const {
    const std::int64_t to = h * (kRank + kDesc.rope), from = h * (kDesc.nope + kDesc.rope);
    for (std::int64_t r = 0; r < kRank; ++r) {
      float sum = 0;
      for (std::int64_t c = 0; c < kDesc.nope; ++c) {
        sum += q.at(t, from + c) * w.at(h * kKvHead + c, r);
      }
      absorbed.set(t, to + r, sum);
    }
    for (std::int64_t c = 0; c < kDesc.rope; ++c) {
      absorbed.set(t, to + kRank + c, q.at(t, from + kDesc.nope + c));
    }
  }
  // The naive output from the absorbed one: W_UV · latents.
  [[nodiscard]] std::vector<double> values_of(const TestMatrix& latents) const {
    std::vector<double> values;
    for (std::int64_t n = 0; n < kDesc.length * kDesc.heads * kDesc.value; ++n) {
      const std::int64_t t = n / (kDesc.heads * kDesc.value), h = n / kDesc.value % kDesc.heads;
      double sum = 0;
      for (std::int64_t r = 0; r < kRank; ++r) {
        sum += static_cast<double>(w.at(h * kKvHead + kDesc.nope + n % kDesc.value, r)) *
               static_cast<double>(latents.at(t, h * kRank + r));
      }
      values.push_back(sum);
    }
    return values;
  }
};

TEST(LatentAttention, EqualsTheNaiveForm) {
  const BothForms forms;
  const AttentionDesc& d = BothForms::kDesc;
  const TestMatrix naive(DType::kF32, d.length, d.heads * d.value);
  attention(TestContext(), d, forms.q.view(), forms.kv.view(), forms.k_rope.view(), naive.view(),
            TestMatrix::vector(d.length * d.heads).values());
  const Case c{d.heads, BothForms::kRank, d.rope, d.length, d.length};
  const TestMatrix latents = run(TestContext(), c, forms.absorbed, forms.cache);
  EXPECT_TRUE(test::all_close(forms.values_of(latents), naive.view(), {2e-5, 2e-5, 1e-5}));
  test::for_each_context([&](const TestContext& context) {
    EXPECT_TRUE(
        test::same_bits(latents.view(), run(context, c, forms.absorbed, forms.cache).view()));
  });
}

TEST(LatentAttention, SetsAndThreadsAgreeForEverySize) {
  for (const std::int64_t heads : {1, 4, 16, 19}) {
    for (const std::int64_t queries : {1, 2, 5}) {
      expect_same_bits({heads, 24, 8, queries, 37});
    }
  }
  for (const std::int64_t rank : {1, 16, 23, 64, 130}) expect_same_bits({6, rank, 5, 2, 64});
  for (const std::int64_t length : {1, 15, 16, 17, 100, 1000}) {
    expect_same_bits({4, 40, 8, 1, length});
  }
  expect_same_bits({4, 16, 0, 3, 33});
  expect_same_bits({4, 16, 8, 0, 33});
}

TEST(LatentAttention, SetsAndThreadsAgreeInBf16) {
  expect_same_bits({4, 24, 8, 2, 77, DType::kBF16});
  expect_same_bits({16, 70, 8, 1, 300, DType::kBF16});
}

TEST(LatentAttention, EachQuerySeesItsOwnPast) {
  const Case c{3, 10, 4, 3, 30};
  const TestMatrix q = TestMatrix::random(DType::kF32, 3, 3 * 14, 1);
  const TestMatrix cache = TestMatrix::random(DType::kF32, 30, 14, 2), poisoned = cache.clone();
  for (std::int64_t d = 0; d < 14; ++d) poisoned.set(29, d, INFINITY);
  test::for_each_context([&](const TestContext& context) {
    const TestMatrix clean = run(context, c, q, cache), got = run(context, c, q, poisoned);
    EXPECT_TRUE(test::same_bits(clean.view().rows_from(0, 2), got.view().rows_from(0, 2)));
    EXPECT_FALSE(std::isfinite(got.at(2, 0)));
  });
}

}  // namespace
}  // namespace sluice::kernels
