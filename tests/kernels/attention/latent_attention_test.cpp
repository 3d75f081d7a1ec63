// Absorbed attention against the naive form with the same weights, and its kernel sets bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/attention/attention.hpp"
#include "kernels/base/random.hpp"

namespace sluice::kernels {
namespace {

struct Case {
  std::int64_t heads, rank, rope, queries, length;
  DType dtype = DType::kF32;
};

Tensor random_tensor(DType dtype, Shape shape, std::uint64_t step) {
  const Random random(3, RandomPurpose::kTest, step);
  Tensor t = Tensor::zeros(dtype, shape);
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    const float x = random.normal(static_cast<std::uint64_t>(i));
    const auto at = static_cast<std::size_t>(i);
    if (dtype == DType::kF32) {
      t.values<float>()[at] = x;
    } else {
      t.values<BF16>()[at] = BF16::from_float(x);
    }
  }
  return t;
}

// The result, with 3 columns behind each row that must stay as they are.
Tensor run(const Case& c, const Tensor& q, const Tensor& cache, Isa isa, int threads) {
  ThreadTeam team(threads);
  const ComputeContext context{
      .isa = isa, .bf16 = {}, .team = &team, .allocator = &heap_allocator(), .profile = nullptr};
  Tensor out = Tensor::zeros(c.dtype, {c.queries, c.heads * c.rank + 3});
  latent_attention(context, c.heads, c.rank, c.rope, 0.08f, q.view(), {cache.view(), c.length},
                   out.view().columns_from(0, c.heads * c.rank));
  return out;
}

void expect_same_bits(const Case& c) {
  SCOPED_TRACE(fmt::format("{} heads, rank {} + {}, {} queries, {} rows", c.heads, c.rank, c.rope,
                           c.queries, c.length));
  const Tensor q = random_tensor(c.dtype, {c.queries, c.heads * (c.rank + c.rope)}, 1);
  const Tensor cache = random_tensor(c.dtype, {c.length + 9, c.rank + c.rope}, 2);
  const Tensor expected = run(c, q, cache, Isa::kReference, 1);
  for (const Isa isa : available_isas()) {
    for (const int threads : {1, 2, 3}) {
      const Tensor out = run(c, q, cache, isa, threads);
      EXPECT_EQ(std::memcmp(out.bytes(), expected.bytes(), out.size_bytes()), 0)
          << name_of(isa) << ", " << threads << " threads";
    }
  }
}

// A layer's weights and inputs in both forms: q_nope · (W_UK · c) = (W_UKᵀ · q_nope) · c.
struct BothForms {
  static constexpr std::int64_t kHeads = 3, kNope = 8, kRope = 4, kValue = 8, kRank = 12,
                                kLength = 21;
  Tensor w = random_tensor(DType::kF32, {kHeads * (kNope + kValue), kRank}, 4);
  Tensor q = random_tensor(DType::kF32, {kLength, kHeads*(kNope + kRope)}, 3);
  Tensor k_rope = random_tensor(DType::kF32, {kLength, kRope}, 2);
  Tensor kv = Tensor::zeros(DType::kF32, {kLength, kHeads*(kNope + kValue)});
  Tensor absorbed = Tensor::zeros(DType::kF32, {kLength, kHeads*(kRank + kRope)});
  Tensor cache = Tensor::zeros(DType::kF32, {kLength, kRank + kRope});

  BothForms() {
    const Tensor latent = random_tensor(DType::kF32, {kLength, kRank}, 1);
    for (std::int64_t t = 0; t < kLength; ++t) {
      float* cache_row = cache.matrix<float>().row(t);
      std::copy_n(latent.matrix<float>().row(t), kRank, cache_row);
      std::copy_n(k_rope.matrix<float>().row(t), kRope, cache_row + kRank);
      for (std::int64_t c = 0; c < kv.shape().columns(); ++c) {
        for (std::int64_t r = 0; r < kRank; ++r) {
          kv.matrix<float>().row(t)[c] += w.matrix<float>().row(c)[r] * cache_row[r];
        }
      }
      for (std::int64_t h = 0; h < kHeads; ++h) absorb(t, h);
    }
  }
  void absorb(std::int64_t t, std::int64_t h) {
    float* to = absorbed.matrix<float>().row(t) + h * (kRank + kRope);
    const float* from = q.matrix<float>().row(t) + h * (kNope + kRope);
    for (std::int64_t c = 0; c < kNope; ++c) {
      const float* w_row = w.matrix<float>().row(h * (kNope + kValue) + c);
      for (std::int64_t r = 0; r < kRank; ++r) to[r] += from[c] * w_row[r];
    }
    std::copy_n(from + kNope, kRope, to + kRank);
  }
  // Column n of the naive output from the absorbed one: W_UV · latents.
  [[nodiscard]] double value_of(const Tensor& out, std::int64_t t, std::int64_t n) const {
    const std::int64_t h = n / kValue;
    const float* w_row = w.matrix<float>().row(h * (kNope + kValue) + kNope + n % kValue);
    const float* latent = out.matrix<float>().row(t) + h * kRank;
    double value = 0;
    for (std::int64_t r = 0; r < kRank; ++r) {
      value += static_cast<double>(w_row[r]) * static_cast<double>(latent[r]);
    }
    return value;
  }
};

TEST(LatentAttention, EqualsTheNaiveForm) {
  using B = BothForms;
  const BothForms forms;
  ThreadTeam team(1);
  const ComputeContext context{.isa = Isa::kReference,
                               .bf16 = {},
                               .team = &team,
                               .allocator = &heap_allocator(),
                               .profile = nullptr};
  const Tensor naive = Tensor::zeros(DType::kF32, {B::kLength, B::kHeads * B::kValue});
  std::vector<float> log_sum_exp(B::kLength * B::kHeads);
  attention(context, {1, B::kLength, B::kHeads, B::kNope, B::kRope, B::kValue, 0.08f},
            forms.q.view(), forms.kv.view(), forms.k_rope.view(), naive.view(), log_sum_exp);
  const Case c{B::kHeads, B::kRank, B::kRope, B::kLength, B::kLength};
  for (const Isa isa : available_isas()) {
    const Tensor out = run(c, forms.absorbed, forms.cache, isa, 2);
    for (std::int64_t t = 0; t < B::kLength; ++t) {
      for (std::int64_t n = 0; n < B::kHeads * B::kValue; ++n) {
        ASSERT_NEAR(forms.value_of(out, t, n), static_cast<double>(naive.matrix<float>().row(t)[n]),
                    2e-5)
            << name_of(isa) << " row " << t << ", column " << n;
      }
    }
  }
}

TEST(LatentAttention, SameBitsForEverySize) {
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

TEST(LatentAttention, SameBitsInBf16) {
  expect_same_bits({4, 24, 8, 2, 77, DType::kBF16});
  expect_same_bits({16, 70, 8, 1, 300, DType::kBF16});
}

TEST(LatentAttention, EachQuerySeesItsOwnPast) {
  const Case c{3, 10, 4, 3, 30};
  const Tensor q = random_tensor(DType::kF32, {3, 3 * 14}, 1);
  const Tensor cache = random_tensor(DType::kF32, {30, 14}, 2);
  float* last = cache.matrix<float>().row(29);
  const std::vector<float> kept(last, last + 14);
  for (const Isa isa : available_isas()) {
    SCOPED_TRACE(name_of(isa));
    std::copy(kept.begin(), kept.end(), last);
    const Tensor before = run(c, q, cache, isa, 1);
    std::fill_n(last, 14, INFINITY);
    const Tensor after = run(c, q, cache, isa, 1);
    EXPECT_EQ(std::memcmp(before.bytes(), after.bytes(), before.size_bytes() / 3 * 2), 0);
    EXPECT_FALSE(std::isfinite(after.matrix<float>().row(2)[0]));
  }
}

}  // namespace
}  // namespace sluice::kernels
