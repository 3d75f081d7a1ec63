// Attention in plain scalar code: the formulas of kernels/attention/attention.hpp as they stand
// there.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/attention_kernels.hpp"
#include "kernels/cpu/elements.hpp"

namespace sluice::kernels::reference {
namespace {

template <class T>
float chain(const T* a, const T* b, std::int64_t n, float sum) {
  for (std::int64_t d = 0; d < n; ++d) sum = std::fma(to_float(a[d]), to_float(b[d]), sum);
  return sum;
}

// sums[d] = x · row[d] + sums[d], one link of n chains.
template <class T>
void add_scaled(float x, const T* row, std::int64_t n, float* sums) {
  for (std::int64_t d = 0; d < n; ++d) sums[d] = std::fma(x, to_float(row[d]), sums[d]);
}

float max_in_lanes(const float* row, std::int64_t n) {
  LaneArray lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  for (std::int64_t j = 0; j < n; ++j) {
    float& lane = lanes[static_cast<std::size_t>(j % kLanes)];
    lane = row[j] > lane ? row[j] : lane;
  }
  return *std::max_element(lanes.begin(), lanes.end());
}

float sum_in_lanes(const float* row, std::int64_t n) {
  LaneArray lanes{};
  for (std::int64_t j = 0; j < n; ++j) lanes[static_cast<std::size_t>(j % kLanes)] += row[j];
  return fold_sum(lanes);
}

struct Softmax {
  float maximum;
  float sum;
};

// Turns a row of scores into exponentials relative to the row's maximum.
Softmax exponentials(float* row, std::int64_t n) {
  const float maximum = max_in_lanes(row, n);
  for (std::int64_t j = 0; j < n; ++j) row[j] = lane_exp(row[j] - maximum);
  return {maximum, sum_in_lanes(row, n)};
}

// Where the numbers of one sequence and head lie. Rows count from the sequence's first.
template <class T>
struct Head {
  AttentionDesc desc;
  std::int64_t sequence;
  std::int64_t head;
  MatrixView<const T> q_all, kv_all, k_rope_all;

  [[nodiscard]] std::int64_t row(std::int64_t t) const { return sequence * desc.length + t; }
  [[nodiscard]] std::int64_t q_column() const { return head * (desc.nope + desc.rope); }
  [[nodiscard]] std::int64_t kv_column() const { return head * (desc.nope + desc.value); }
  [[nodiscard]] const T* q(std::int64_t t) const { return q_all.row(row(t)) + q_column(); }
  [[nodiscard]] const T* k(std::int64_t t) const { return kv_all.row(row(t)) + kv_column(); }
  [[nodiscard]] const T* v(std::int64_t t) const { return k(t) + desc.nope; }
  [[nodiscard]] const T* k_rope(std::int64_t t) const { return k_rope_all.row(row(t)); }
  [[nodiscard]] std::int64_t log_sum_exp_index(std::int64_t t) const {
    return row(t) * desc.heads + head;
  }

  [[nodiscard]] float score(std::int64_t i, std::int64_t j) const {
    const float nope_part = chain(q(i), k(j), desc.nope, 0.0f);
    return chain(q(i) + desc.nope, k_rope(j), desc.rope, nope_part) * desc.scale;
  }
};

// Calls body(head, scratch) for every sequence and head, `floats` of scratch each.
template <class T, class Body>
void for_each_head(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
                   TensorView kv, TensorView k_rope, std::int64_t floats, const Body& body) {
  const std::int64_t count = desc.sequences * desc.heads;
  const Tensor scratch = context.make(DType::kF32, {count, floats});
  context.team->parallel_for(count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      const Head<T> head{desc,
                         n / desc.heads,
                         n % desc.heads,
                         q.as<const T>(),
                         kv.as<const T>(),
                         k_rope.as<const T>()};
      body(head, scratch.matrix<float>().row(n));
    }
  });
}

template <class T>
void forward(const ComputeContext& context, const AttentionDesc& desc, TensorView q, TensorView kv,
             TensorView k_rope, MatrixView<T> out, std::span<float> log_sum_exp) {
  const auto body = [&](const Head<T>& head, float* scratch) {
    float* row = scratch;
    float* sums = scratch + desc.length;
    for (std::int64_t i = 0; i < desc.length; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) row[j] = head.score(i, j);
      const Softmax softmax = exponentials(row, i + 1);
      std::fill_n(sums, desc.value, 0.0f);
      for (std::int64_t j = 0; j <= i; ++j) add_scaled(row[j], head.v(j), desc.value, sums);
      T* to = out.row(head.row(i)) + head.head * desc.value;
      const float inverse = 1.0f / softmax.sum;
      for (std::int64_t d = 0; d < desc.value; ++d) to[d] = from_float<T>(sums[d] * inverse);
      log_sum_exp[static_cast<std::size_t>(head.log_sum_exp_index(i))] =
          log_sum_exp_of(softmax.maximum, softmax.sum);
    }
  };
  for_each_head<T>(context, desc, q, kv, k_rope, desc.length + desc.value, body);
}

template <class T>
float dot_in_lanes(const T* a, const T* b, std::int64_t n) {
  LaneArray lanes{};
  for (std::int64_t d = 0; d < n; ++d) {
    float& lane = lanes[static_cast<std::size_t>(d % kLanes)];
    lane = std::fma(to_float(a[d]), to_float(b[d]), lane);
  }
  return fold_sum(lanes);
}

template <class T>
struct Gradients {
  MatrixView<T> dq, dkv;
  MatrixView<float> dk_rope;  // by head: row (sequence · heads + head) · length + t
};

// One (sequence, head). Queries in order outside, so that dk and dv are chains over queries.
template <class T>
void backward_head(const Head<T>& head, MatrixView<const T> out, MatrixView<const T> dout,
                   std::span<const float> log_sum_exp, const Gradients<T>& to, float* scratch) {
  const AttentionDesc& desc = head.desc;
  const std::int64_t key_width = desc.nope + desc.rope;
  float* dq = scratch;
  float* dk = dq + key_width;
  float* dv = dk + desc.length * key_width;
  std::fill_n(dk, desc.length * (key_width + desc.value), 0.0f);
  for (std::int64_t i = 0; i < desc.length; ++i) {
    const T* dout_row = dout.row(head.row(i)) + head.head * desc.value;
    const T* out_row = out.row(head.row(i)) + head.head * desc.value;
    const float delta = dot_in_lanes(dout_row, out_row, desc.value);
    const float normaliser = log_sum_exp[static_cast<std::size_t>(head.log_sum_exp_index(i))];
    std::fill_n(dq, key_width, 0.0f);
    for (std::int64_t j = 0; j <= i; ++j) {
      const float p = lane_exp(head.score(i, j) - normaliser);
      const float dp = chain(dout_row, head.v(j), desc.value, 0.0f);
      const float ds = i == 0 ? 0.0f : (p * (dp - delta)) * desc.scale;
      add_scaled(ds, head.k(j), desc.nope, dq);
      add_scaled(ds, head.k_rope(j), desc.rope, dq + desc.nope);
      add_scaled(ds, head.q(i), key_width, dk + j * key_width);
      add_scaled(p, dout_row, desc.value, dv + j * desc.value);
    }
    T* dq_row = to.dq.row(head.row(i)) + head.q_column();
    for (std::int64_t d = 0; d < key_width; ++d) dq_row[d] = from_float<T>(dq[d]);
  }
  for (std::int64_t j = 0; j < desc.length; ++j) {
    T* dkv_row = to.dkv.row(head.row(j)) + head.kv_column();
    const float* dk_row = dk + j * key_width;
    const float* dv_row = dv + j * desc.value;
    for (std::int64_t d = 0; d < desc.nope; ++d) dkv_row[d] = from_float<T>(dk_row[d]);
    for (std::int64_t d = 0; d < desc.value; ++d) dkv_row[desc.nope + d] = from_float<T>(dv_row[d]);
    std::copy_n(dk_row + desc.nope, desc.rope,
                to.dk_rope.row((head.sequence * desc.heads + head.head) * desc.length + j));
  }
}

template <class T>
void sum_over_heads(const AttentionDesc& desc, MatrixView<float> by_head, MatrixView<T> dk_rope) {
  for (std::int64_t t = 0; t < desc.sequences * desc.length; ++t) {
    const std::int64_t first =
        t / desc.length * desc.heads * desc.length + t % desc.length;  // of head 0
    for (std::int64_t d = 0; d < desc.rope; ++d) {
      float sum = by_head.row(first)[d];
      for (std::int64_t h = 1; h < desc.heads; ++h) sum += by_head.row(first + h * desc.length)[d];
      dk_rope.row(t)[d] = from_float<T>(sum);
    }
  }
}

template <class T>
void backward(const ComputeContext& context, const AttentionDesc& desc, TensorView q, TensorView kv,
              TensorView k_rope, MatrixView<const T> out, std::span<const float> log_sum_exp,
              MatrixView<const T> dout, MatrixView<T> dq, MatrixView<T> dkv,
              MatrixView<T> dk_rope) {
  const Tensor by_head =
      context.make(DType::kF32, {desc.sequences * desc.heads * desc.length, desc.rope});
  const Gradients<T> to{dq, dkv, by_head.matrix<float>()};
  const std::int64_t floats =
      desc.nope + desc.rope + desc.length * (desc.nope + desc.rope + desc.value);
  for_each_head<T>(context, desc, q, kv, k_rope, floats, [&](const Head<T>& head, float* scratch) {
    backward_head<T>(head, out, dout, log_sum_exp, to, scratch);
  });
  sum_over_heads<T>(desc, to.dk_rope, dk_rope);
}

struct LatentDesc {
  std::int64_t heads, rank, rope;
  float scale;
};

template <class T>
void latent(const ComputeContext& context, const LatentDesc& desc, MatrixView<const T> q,
            MatrixView<const T> cache, std::int64_t length, MatrixView<T> out) {
  const std::int64_t width = desc.rank + desc.rope;
  const std::int64_t count = q.rows * desc.heads;
  const Tensor scratch = context.make(DType::kF32, {count, length + desc.rank});
  context.team->parallel_for(count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      const std::int64_t i = n / desc.heads, h = n % desc.heads;
      const std::int64_t visible = length - q.rows + i + 1;
      float* row = scratch.matrix<float>().row(n);
      float* sums = row + length;
      for (std::int64_t j = 0; j < visible; ++j) {
        row[j] = chain(q.row(i) + h * width, cache.row(j), width, 0.0f) * desc.scale;
      }
      const float inverse = 1.0f / exponentials(row, visible).sum;
      std::fill_n(sums, desc.rank, 0.0f);
      for (std::int64_t j = 0; j < visible; ++j) {
        add_scaled(row[j], cache.row(j), desc.rank, sums);
      }
      T* to = out.row(i) + h * desc.rank;
      for (std::int64_t d = 0; d < desc.rank; ++d) to[d] = from_float<T>(sums[d] * inverse);
    }
  });
}

void forward_entry(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
                   TensorView kv, TensorView k_rope, TensorView out, std::span<float> log_sum_exp) {
  visit_element(q.dtype, [&]<class T>(T) {
    forward<T>(context, desc, q, kv, k_rope, out.as<T>(), log_sum_exp);
  });
}

void backward_entry(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
                    TensorView kv, TensorView k_rope, TensorView out,
                    std::span<const float> log_sum_exp, TensorView dout, TensorView dq,
                    TensorView dkv, TensorView dk_rope) {
  visit_element(q.dtype, [&]<class T>(T) {
    backward<T>(context, desc, q, kv, k_rope, out.as<const T>(), log_sum_exp, dout.as<const T>(),
                dq.as<T>(), dkv.as<T>(), dk_rope.as<T>());
  });
}

void latent_entry(const ComputeContext& context, std::int64_t heads, std::int64_t rank,
                  std::int64_t rope, float scale, TensorView q_absorbed, LatentCacheView cache,
                  TensorView out) {
  visit_element(q_absorbed.dtype, [&]<class T>(T) {
    latent<T>(context, {heads, rank, rope, scale}, q_absorbed.as<const T>(),
              cache.rows.as<const T>(), cache.length, out.as<T>());
  });
}

}  // namespace

const AttentionForward kAttention = forward_entry;
const AttentionBackward kAttentionBackward = backward_entry;
const LatentAttention kLatentAttention = latent_entry;

}  // namespace sluice::kernels::reference
