// Attention against an independent double-precision formula, its gradients against finite
// differences, and every kernel set against the reference, bit for bit.
#include "kernels/attention/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/base/random.hpp"

namespace sluice::kernels {
namespace {

constexpr float kUntouched = -12345.0f;

// A matrix whose rows are `padding` elements longer than their width.
struct Matrix {
  Tensor storage;
  std::int64_t width = 0;

  Matrix(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t padding)
      : storage(Tensor::zeros(dtype, {rows, columns + padding})), width(columns) {
    fill([](std::int64_t) { return kUntouched; });
  }
  [[nodiscard]] TensorView view() const { return storage.view().columns_from(0, width); }

  void fill(const std::function<float(std::int64_t)>& value) {
    for (std::int64_t i = 0; i < storage.shape().count(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (storage.dtype() == DType::kF32) {
        storage.values<float>()[at] = value(i);
      } else {
        storage.values<BF16>()[at] = BF16::from_float(value(i));
      }
    }
  }
  [[nodiscard]] double at(std::int64_t row, std::int64_t column) const {
    const TensorView v = view();
    return static_cast<double>(v.dtype == DType::kF32 ? v.as<float>().row(row)[column]
                                                      : v.as<BF16>().row(row)[column].to_float());
  }
};

struct Case {
  AttentionDesc desc;
  DType dtype = DType::kF32;
  std::int64_t padding = 0;
};

struct Inputs {
  Matrix q, kv, k_rope, dout;

  explicit Inputs(const Case& c, std::uint64_t seed = 1)
      : q(c.dtype, rows(c), c.desc.heads * (c.desc.nope + c.desc.rope), c.padding),
        kv(c.dtype, rows(c), c.desc.heads * (c.desc.nope + c.desc.value), c.padding),
        k_rope(c.dtype, rows(c), c.desc.rope, c.padding),
        dout(c.dtype, rows(c), c.desc.heads * c.desc.value, c.padding) {
    std::uint64_t step = 0;
    for (Matrix* m : {&q, &kv, &k_rope, &dout}) {
      const Random random(seed, RandomPurpose::kTest, step++);
      m->fill([&](std::int64_t i) { return random.normal(static_cast<std::uint64_t>(i)); });
    }
  }
  [[nodiscard]] static std::int64_t rows(const Case& c) { return c.desc.sequences * c.desc.length; }
};

struct Outputs {
  Matrix out, dq, dkv, dk_rope;
  std::vector<float> log_sum_exp;

  Outputs(const Case& c, const Inputs& in)
      : out(c.dtype, Inputs::rows(c), in.dout.width, c.padding),
        dq(c.dtype, Inputs::rows(c), in.q.width, c.padding),
        dkv(c.dtype, Inputs::rows(c), in.kv.width, c.padding),
        dk_rope(c.dtype, Inputs::rows(c), in.k_rope.width, c.padding),
        log_sum_exp(static_cast<std::size_t>(Inputs::rows(c) * c.desc.heads), kUntouched) {}
};

Outputs run(const Case& c, const Inputs& in, Isa isa, int threads) {
  ThreadTeam team(threads);
  const ComputeContext context{
      .isa = isa, .bf16 = {}, .team = &team, .allocator = &heap_allocator(), .profile = nullptr};
  Outputs o(c, in);
  attention(context, c.desc, in.q.view(), in.kv.view(), in.k_rope.view(), o.out.view(),
            o.log_sum_exp);
  attention_backward(context, c.desc, in.q.view(), in.kv.view(), in.k_rope.view(), o.out.view(),
                     o.log_sum_exp, in.dout.view(), o.dq.view(), o.dkv.view(), o.dk_rope.view());
  return o;
}

// The formula of the DeepSeek-V3 report, row by row, in double precision.
struct Exact {
  std::vector<double> out, log_sum_exp;  // [T, heads · value], [T, heads]
};

double exact_score(const AttentionDesc& d, const Inputs& in, std::int64_t t, std::int64_t j,
                   std::int64_t h) {
  const std::int64_t q_first = h * (d.nope + d.rope), k_first = h * (d.nope + d.value);
  double dot = 0;
  for (std::int64_t c = 0; c < d.nope; ++c)
    dot += in.q.at(t, q_first + c) * in.kv.at(j, k_first + c);
  for (std::int64_t c = 0; c < d.rope; ++c) {
    dot += in.q.at(t, q_first + d.nope + c) * in.k_rope.at(j, c);
  }
  return dot * static_cast<double>(d.scale);
}

Exact exact(const AttentionDesc& d, const Inputs& in) {
  Exact e;
  for (std::int64_t t = 0; t < d.sequences * d.length; ++t) {
    const std::int64_t first = t / d.length * d.length;
    for (std::int64_t h = 0; h < d.heads; ++h) {
      std::vector<double> p;
      double sum = 0;
      for (std::int64_t j = first; j <= t; ++j) {
        p.push_back(std::exp(exact_score(d, in, t, j, h)));
        sum += p.back();
      }
      e.log_sum_exp.push_back(std::log(sum));
      for (std::int64_t c = 0; c < d.value; ++c) {
        double value = 0;
        for (std::int64_t j = first; j <= t; ++j) {
          value += p[static_cast<std::size_t>(j - first)] / sum *
                   in.kv.at(j, h * (d.nope + d.value) + d.nope + c);
        }
        e.out.push_back(value);
      }
    }
  }
  return e;
}

// The scalar whose gradient attention_backward gives: sum of dout · out.
double loss(const AttentionDesc& d, const Inputs& in) {
  const Exact e = exact(d, in);
  double sum = 0;
  std::size_t n = 0;
  for (std::int64_t t = 0; t < d.sequences * d.length; ++t) {
    for (std::int64_t c = 0; c < in.dout.width; ++c) sum += in.dout.at(t, c) * e.out[n++];
  }
  return sum;
}

Case make_case(std::int64_t length) {
  Case c;
  c.desc = {2, length, 3, 8, 4, 8, 0.25f};
  return c;
}

void expect_forward_near(const Case& c, const Inputs& in, const Outputs& o, double tolerance) {
  const Exact e = exact(c.desc, in);
  std::size_t n = 0;
  for (std::int64_t t = 0; t < Inputs::rows(c); ++t) {
    for (std::int64_t i = 0; i < in.dout.width; ++i, ++n) {
      ASSERT_TRUE(std::abs(o.out.at(t, i) - e.out[n]) <= tolerance)
          << o.out.at(t, i) << " versus " << e.out[n] << " at row " << t << ", column " << i;
    }
  }
  for (std::size_t i = 0; i < e.log_sum_exp.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(o.log_sum_exp[i]), e.log_sum_exp[i], tolerance) << i;
  }
}

void expect_gradient(const AttentionDesc& d, const Inputs& in, const Matrix& input,
                     const Matrix& gradient, const char* name) {
  constexpr float kStep = 1.0f / 1024;
  const MatrixView<float> values = input.view().as<float>();
  for (std::int64_t t = 0; t < values.rows; ++t) {
    for (std::int64_t c = 0; c < values.columns; ++c) {
      float& x = values.row(t)[c];
      const float old = x;
      x = old + kStep;
      const double above = loss(d, in), x_above = static_cast<double>(x);
      x = old - kStep;
      const double below = loss(d, in), x_below = static_cast<double>(x);
      x = old;
      ASSERT_NEAR(gradient.at(t, c), (above - below) / (x_above - x_below), 2e-5)
          << name << " row " << t << ", column " << c;
    }
  }
}

void expect_same_bytes(const Matrix& a, const Matrix& b, const char* name) {
  ASSERT_EQ(a.storage.size_bytes(), b.storage.size_bytes());
  EXPECT_EQ(std::memcmp(a.storage.bytes(), b.storage.bytes(), a.storage.size_bytes()), 0) << name;
}

void expect_same_bits(const Case& c) {
  const Inputs in(c);
  const Outputs expected = run(c, in, Isa::kReference, 1);
  for (const Isa isa : available_isas()) {
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE(fmt::format("{}, {} threads", name_of(isa), threads));
      const Outputs o = run(c, in, isa, threads);
      expect_same_bytes(o.out, expected.out, "out");
      expect_same_bytes(o.dq, expected.dq, "dq");
      expect_same_bytes(o.dkv, expected.dkv, "dkv");
      expect_same_bytes(o.dk_rope, expected.dk_rope, "dk_rope");
      EXPECT_TRUE(std::ranges::equal(o.log_sum_exp, expected.log_sum_exp, {},
                                     std::bit_cast<std::uint32_t, float>,
                                     std::bit_cast<std::uint32_t, float>));
    }
  }
}

TEST(Attention, ReferenceFollowsTheFormula) {
  for (const std::int64_t length : {1, 2, 17, 40}) {
    const Case c = make_case(length);
    const Inputs in(c);
    expect_forward_near(c, in, run(c, in, Isa::kReference, 1), 3e-6);
  }
}

TEST(Attention, GradientsAgreeWithFiniteDifferences) {
  Case c;
  c.desc = {2, 5, 2, 3, 2, 4, 0.5f};
  c.padding = 3;
  const Inputs in(c);
  for (const Isa isa : available_isas()) {
    SCOPED_TRACE(name_of(isa));
    const Outputs o = run(c, in, isa, 2);
    expect_gradient(c.desc, in, in.q, o.dq, "q");
    expect_gradient(c.desc, in, in.kv, o.dkv, "kv");
    expect_gradient(c.desc, in, in.k_rope, o.dk_rope, "k_rope");
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Case c = make_case(20);
  c.desc.scale = 40.0f;  // scores of some hundreds, whose exponentials are infinite in fp32
  const Inputs in(c);
  expect_forward_near(c, in, run(c, in, Isa::kReference, 1), 1e-3);
  expect_same_bits(c);
}

// What a query may not see does not reach it, not even as 0 · infinity.
TEST(Attention, LaterKeysDoNotReachEarlierQueries) {
  constexpr std::int64_t kLength = 70, kFirstBad = 50;
  Case c;
  c.desc = {1, kLength, 2, 8, 4, 8, 0.25f};
  const Inputs in(c), poisoned(c);
  for (const Matrix* m : {&poisoned.kv, &poisoned.k_rope}) {
    for (std::int64_t t = kFirstBad; t < kLength; ++t) {
      float* row = m->view().as<float>().row(t);
      for (std::int64_t i = 0; i < m->width; ++i) row[i] = i % 2 == 0 ? INFINITY : NAN;
    }
  }
  for (const Isa isa : available_isas()) {
    SCOPED_TRACE(name_of(isa));
    const Outputs clean = run(c, in, isa, 2), o = run(c, poisoned, isa, 2);
    for (std::int64_t t = 0; t < kFirstBad; ++t) {
      for (std::int64_t i = 0; i < o.out.width; ++i) {
        ASSERT_EQ(o.out.at(t, i), clean.out.at(t, i)) << t;
      }
      for (std::int64_t i = 0; i < o.dq.width; ++i) {
        ASSERT_EQ(o.dq.at(t, i), clean.dq.at(t, i)) << t;
      }
    }
    ASSERT_FALSE(std::isfinite(o.out.at(kFirstBad, 0)));
  }
}

TEST(Attention, SameBitsForEveryLength) {
  for (const std::int64_t length : {0, 1, 5, 6, 7, 16, 17, 47, 48, 49, 64, 96, 97, 130}) {
    SCOPED_TRACE(length);
    Case c = make_case(length);
    c.padding = length % 3;
    expect_same_bits(c);
  }
}

TEST(Attention, SameBitsForEveryHeadSize) {
  for (const std::int64_t nope : {8, 13, 64}) {
    for (const std::int64_t rope : {0, 4, 8, 32}) {
      for (const std::int64_t value : {8, 24, 64, 90}) {
        SCOPED_TRACE(fmt::format("{} + {}, {}", nope, rope, value));
        Case c;
        c.desc = {1, 35, 2, nope, rope, value, 0.1f};
        c.padding = 5;
        expect_same_bits(c);
      }
    }
  }
}

TEST(Attention, SameBitsForOneLongSequence) {
  Case c;
  c.desc = {1, 421, 1, 24, 8, 24, 0.15f};  // fewer heads than threads: another split of the work
  expect_same_bits(c);
}

TEST(Attention, Bf16IsWidenedExactlyAndRoundedOnce) {
  for (const std::int64_t length : {1, 7, 50, 130}) {
    SCOPED_TRACE(length);
    Case c = make_case(length);
    c.dtype = DType::kBF16;
    c.padding = 3;
    const Inputs in(c);
    expect_forward_near(c, in, run(c, in, best_isa(), 2), 4.0 / 256);
    expect_same_bits(c);
  }
}

}  // namespace
}  // namespace sluice::kernels
