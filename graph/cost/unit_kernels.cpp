// Shapes and bytes. Letters: T tokens, H hidden size, n = T H, z rows given to this rank's experts.
#include "graph/cost/unit_kernels.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::cost {
namespace {

double real(std::int64_t value) { return static_cast<double>(value); }

// A job's sizes as numbers.
struct Sizes {
  explicit Sizes(const Job& job)
      : fp8(job.recipe == Recipe::kFp8),
        tokens(job.tokens()),
        length(real(job.sequence_length)),
        hidden(real(job.model.hidden_size)),
        heads(real(job.model.num_attention_heads)),
        nope(heads * real(job.model.qk_nope_head_dim)),
        rope(heads * real(job.model.qk_rope_head_dim)),
        values(heads * real(job.model.v_head_dim)),
        queries(nope + rope),
        keys_values(nope + values),
        q_latent(real(job.model.q_lora_rank)),
        kv_latent(real(job.model.kv_lora_rank)),
        kv_projected(kv_latent + real(job.model.qk_rope_head_dim)),
        inner(real(job.model.moe_intermediate_size)),
        shared(real(job.model.shared_intermediate_size())),
        dense(real(job.model.intermediate_size)),
        vocabulary(real(job.model.vocab_size)),
        experts(real(job.model.n_routed_experts)),
        experts_here(experts / job.expert_parallel_size),
        rows(tokens * real(job.model.num_experts_per_tok) * job.expert_load) {}
  bool fp8;
  double tokens, length, hidden, heads, nope, rope, values, queries, keys_values;
  double q_latent, kv_latent, kv_projected, inner, shared, dense, vocabulary;
  double experts, experts_here, rows;

  [[nodiscard]] double attention_parameters() const {
    const double q = q_latent > 0 ? hidden * q_latent + q_latent * queries : hidden * queries;
    return q + hidden * kv_projected + kv_latent * keys_values + values * hidden;
  }
};

class Lists {
 public:
  Lists(const Job& job, double gpus_per_node)
      : s_(job),
        copies_(copies_of_token(job, gpus_per_node)),
        within_node_(job.expert_parallel_size <= gpus_per_node),
        has_transfers_(job.expert_parallel_size > 1),
        load_(job.expert_load) {}

  UnitKernels make(Unit unit) {
    switch (unit) {
      case Unit::kEmbedding: embedding(); break;
      case Unit::kDenseLayer:
        attention();
        feed_forward(s_.dense);
        break;
      case Unit::kMoeLayer:
        attention();
        gate();
        if (s_.shared > 0) feed_forward(s_.shared);
        experts();
        break;
      case Unit::kMtpProjection: mtp_projection(); break;
      case Unit::kHead: head(); break;
    }
    return std::move(out_);
  }

 private:
  static constexpr double kExpertSetBytes = 2;  // FP8, read and written

  std::vector<Kernel>& in(Task task) { return out_[static_cast<std::size_t>(task)]; }
  void move(Task task, std::string_view name, Movement movement, double bytes) {
    if (bytes > 0) in(task).push_back({name, KernelClass::kMovement, Move{movement, bytes}});
  }
  /// Only where activations are cast.
  void move8(Task task, std::string_view name, Movement movement, double bytes) {
    if (s_.fp8) move(task, name, movement, bytes);
  }

  using Type = Product::Type;
  /// y [T, outputs] = x [T, inputs] W, its input gradient and its weight gradient.
  struct Tasks {
    Task forward, input, weight;
  };
  static constexpr Tasks kAttentionTasks{Task::kAttentionForward, Task::kAttentionInput,
                                         Task::kAttentionWeight};
  static constexpr Tasks kFeedForwardTasks{Task::kFeedForwardForward, Task::kFeedForwardInput,
                                           Task::kFeedForwardWeight};
  void linear(const Tasks& tasks, std::string_view name, double outputs, double inputs, bool fp8,
              double groups = 0) {
    const KernelClass kind = groups > 0 ? KernelClass::kGroupedProduct : KernelClass::kProduct;
    const double count = std::max(groups, 1.0);
    const double rows = groups > 0 ? s_.rows / groups : s_.tokens;
    const Type type = fp8 ? Type::kFp8 : Type::kBf16;
    in(tasks.forward).push_back({name, kind, Product{type, rows, outputs, inputs, count}});
    in(tasks.input).push_back({name, kind, Product{type, rows, inputs, outputs, count}});
    in(tasks.weight)
        .push_back({name, KernelClass::kWeightProduct,
                    Product{fp8 ? Type::kFp8Weight : Type::kBf16, outputs, inputs, rows, count}});
  }
  void recompute(std::string_view name, double outputs, double inputs) {
    in(Task::kAttentionInput)
        .push_back({name, KernelClass::kProduct,
                    Product{s_.fp8 ? Type::kFp8 : Type::kBf16, s_.tokens, outputs, inputs, 1}});
  }

  void attention() {
    attention_products();
    const double squares = s_.tokens * s_.length;  // causal: half of them, two operations each
    const double score = s_.queries / s_.heads, value = s_.values / s_.heads;
    in(Task::kAttentionForward)
        .push_back({"attention", KernelClass::kAttentionForward,
                    Attention{squares * s_.heads * (score + value), false}});
    in(Task::kAttentionInput)
        .push_back({"attention", KernelClass::kAttentionBackward,
                    Attention{squares * s_.heads * (3 * score + 2 * value), true}});
    attention_moves_forward();
    attention_moves_backward();
  }

  void attention_products() {
    const bool fp8 = s_.fp8;
    if (s_.q_latent > 0) {
      linear(kAttentionTasks, "q_a", s_.q_latent, s_.hidden, fp8);
      linear(kAttentionTasks, "q_b", s_.queries, s_.q_latent, fp8);
      recompute("q_b again", s_.queries, s_.q_latent);
    } else {
      linear(kAttentionTasks, "q", s_.queries, s_.hidden, fp8);
    }
    linear(kAttentionTasks, "kv_a", s_.kv_projected, s_.hidden, fp8);
    linear(kAttentionTasks, "kv_b", s_.keys_values, s_.kv_latent, fp8);
    recompute("kv_b again", s_.keys_values, s_.kv_latent);
    linear(kAttentionTasks, "o", s_.hidden, s_.values, fp8);
  }

  void latents_and_rotation(Task task) {
    const double T = s_.tokens;
    move(task, "latent norms", Movement::kNormForward,
         (s_.fp8 ? 7 : 4) * T * (s_.q_latent + s_.kv_latent));
    move(task, "latent copies", Movement::kCopy, 4 * T * s_.kv_projected);
    move(task, "rotate queries", Movement::kRotate, 4 * T * s_.rope);
    move(task, "copy k_nope", Movement::kCopy, 4 * T * s_.nope);
    move(task, "broadcast k_pe", Movement::kBroadcast, 2 * T * s_.rope);
  }

  void attention_moves_forward() {
    const double T = s_.tokens, n = T * s_.hidden;
    const Task task = Task::kAttentionForward;
    move(task, "norms", Movement::kNormForward, 2 * 8 * n);
    move8(task, "casts", Movement::kCast, 3 * 3 * n);
    move(task, "residual", Movement::kAdd, 4 * n);
    latents_and_rotation(task);
    move8(task, "scale outputs", Movement::kScale, 3.5 * T * s_.values);
    move8(task, "outputs to E5M6", Movement::kPack, 3 * T * s_.values);
  }

  void attention_moves_backward() {
    const double T = s_.tokens, n = T * s_.hidden;
    const Task task = Task::kAttentionInput;
    move(task, "norms again", Movement::kNormForward, 2 * 8 * n);
    move(task, "norm gradients", Movement::kNormBackward, 2 * 8 * n);
    move8(task, "casts of gradients", Movement::kCast, 2 * 6 * n);
    move(task, "residual", Movement::kAdd, 4 * n);
    move8(task, "inputs to 128x1", Movement::kRetile, 2 * 3 * n);
    latents_and_rotation(task);
    move8(task, "casts of latents", Movement::kCast,
          12 * T * (s_.q_latent + s_.kv_latent + s_.rope / s_.heads));
    move(task, "rotate back", Movement::kRotate, 4 * T * s_.rope);
    move(task, "copies of gradients", Movement::kCopy, 8 * T * s_.nope);
    move8(task, "outputs from E5M6", Movement::kUnpack, 3 * T * s_.values);
    move8(task, "outputs to 128x1", Movement::kRetile, 3.5 * T * s_.values);
    move(task, "attention ends", Movement::kAttentionEnds,
         4 * T * (s_.values + s_.queries) + 6 * T * s_.queries);
    move8(task, "casts of projections", Movement::kCastRows, 6 * T * (s_.keys_values + s_.queries));
    move8(task, "transpose weights", Movement::kTranspose, 2 * s_.attention_parameters());
  }

  void gate() {
    linear(kAttentionTasks, "gate", s_.experts, s_.hidden, false);
    in(Task::kAttentionForward).push_back({"routing", KernelClass::kMovement, Routing{}});
  }

  void feed_forward(double inner) {
    const double T = s_.tokens, n = T * s_.hidden;
    linear(kFeedForwardTasks, "gate_up", 2 * inner, s_.hidden, s_.fp8);
    linear(kFeedForwardTasks, "down", s_.hidden, inner, s_.fp8);
    move(Task::kFeedForwardForward, "swiglu", Movement::kSwiglu, (s_.fp8 ? 11 : 6) * T * inner);
    move8(Task::kFeedForwardInput, "casts of gradients", Movement::kCast, 15 * n);
    move(Task::kFeedForwardInput, "swiglu gradient", Movement::kSwiglu,
         (s_.fp8 ? 24 : 16) * T * inner);
    move8(Task::kFeedForwardInput, "transpose weights", Movement::kTranspose,
          6 * s_.hidden * inner);
  }

  void experts() {
    const double z = s_.rows, H = s_.hidden, inner = s_.inner;
    const double set = 3 * H * inner * s_.experts_here;
    linear(kFeedForwardTasks, "expert gate_up", 2 * inner, H, s_.fp8, s_.experts_here);
    linear(kFeedForwardTasks, "expert down", H, inner, s_.fp8, s_.experts_here);
    transfers();
    const Task forward = Task::kFeedForwardForward, input = Task::kFeedForwardInput;
    const double permuted = s_.fp8 ? 2 : 4;  // bytes a number, read and written
    move(forward, "permute", Movement::kPermute, permuted * z * H);
    move(forward, "unpermute", Movement::kUnpermute, 4 * z * H);
    move(forward, "expert swiglu", Movement::kSwiglu, (s_.fp8 ? 10 : 6) * z * inner);
    move8(forward, "expert casts", Movement::kCastRows, 6 * z * inner);
    move8(forward, "transpose experts", Movement::kTranspose, kExpertSetBytes * set);
    move(input, "permute", Movement::kPermute, permuted * z * H);
    move(input, "unpermute", Movement::kUnpermute, 4 * z * H);
    move(input, "expert swiglu gradient", Movement::kSwiglu, (s_.fp8 ? 12 : 10) * z * inner);
    move(input, "expert swiglu again", Movement::kSwiglu, (s_.fp8 ? 7 : 6) * z * inner);
    move8(input, "expert casts", Movement::kCastRows, 6 * z * inner);
    move8(input, "expert casts of gradients", Movement::kCastRows, 12 * z * inner);
    move8(Task::kFeedForwardWeight, "expert inputs to 128x1", Movement::kRetile, 4 * z * H);
  }

  void transfers() {
    if (!has_transfers_) return;
    const double per_token = copies_ * load_;  // what the slowest rank moves
    const double narrow = s_.fp8 ? s_.hidden + 4 * s_.hidden / 128 : 2 * s_.hidden;
    const double wide = 2 * s_.hidden;
    const auto add = [&](Task task, std::string_view name, KernelClass kind, AllToAll::Phase phase,
                         double bytes) {
      in(task).push_back(
          {name, kind, AllToAll{phase, s_.tokens * per_token * bytes, within_node_}});
    };
    using Phase = AllToAll::Phase;
    add(Task::kDispatchForward, "dispatch", KernelClass::kDispatchForward, Phase::kDispatchForward,
        narrow);
    add(Task::kCombineForward, "combine", KernelClass::kCombineForward, Phase::kCombineForward,
        wide);
    add(Task::kCombineBackward, "gradient of combine", KernelClass::kCombineBackward,
        Phase::kCombineBackward, narrow);
    add(Task::kDispatchBackward, "gradient of dispatch", KernelClass::kDispatchBackward,
        Phase::kDispatchBackward, wide);
  }

  void embedding() {
    const double n = s_.tokens * s_.hidden;
    move(Task::kAttentionForward, "embed", Movement::kCopy, 4 * n);
    move(Task::kAttentionWeight, "embedding gradient", Movement::kAdd, 10 * n);
  }

  void mtp_projection() {
    const double n = s_.tokens * s_.hidden;
    linear(kAttentionTasks, "eh_proj", s_.hidden, 2 * s_.hidden, false);
    move(Task::kAttentionForward, "embed", Movement::kCopy, 4 * n);
    move(Task::kAttentionForward, "norms", Movement::kNormForward, 2 * 8 * n);
    move(Task::kAttentionInput, "norms again", Movement::kNormForward, 2 * 8 * n);
    move(Task::kAttentionInput, "norm gradients", Movement::kNormBackward, 2 * 8 * n);
    move(Task::kAttentionWeight, "embedding gradient", Movement::kAdd, 10 * n);
  }

  void head() {
    const double n = s_.tokens * s_.hidden;
    constexpr double kLogitBytes = 6;  // written and read in BF16, the gradient written
    linear(kFeedForwardTasks, "head", s_.vocabulary, s_.hidden, false);
    move(Task::kFeedForwardForward, "norm", Movement::kNormForward, 8 * n);
    move(Task::kFeedForwardForward, "cross entropy", Movement::kCopy,
         kLogitBytes * s_.tokens * s_.vocabulary);
    move(Task::kFeedForwardInput, "norm gradient", Movement::kNormBackward, 2 * 8 * n);
  }

  Sizes s_;
  double copies_;
  bool within_node_;
  bool has_transfers_;
  double load_;
  UnitKernels out_;
};

}  // namespace

UnitKernels kernels_of(Unit unit, const Job& job, double gpus_per_node) {
  return Lists(job, gpus_per_node).make(unit);
}

double copies_of_token(const Job& job, double gpus_per_node) {
  const auto top = real(job.model.num_experts_per_tok);
  const double ranks = job.expert_parallel_size;
  if (ranks <= gpus_per_node) return ranks * (1 - std::pow(1 - 1 / ranks, top));
  const double nodes = std::ceil(ranks / gpus_per_node);
  const double nodes_per_group = std::max(1.0, nodes / real(job.model.n_group));
  return std::min({nodes, top, real(job.model.topk_group) * nodes_per_group});
}

UnitParameters parameters_of(Unit unit, const Job& job) {
  const Sizes s(job);
  const double layer = s.attention_parameters() + 2 * s.hidden + s.q_latent + s.kv_latent;
  switch (unit) {
    case Unit::kEmbedding: return {s.vocabulary * s.hidden, 0};
    case Unit::kDenseLayer: return {layer + 3 * s.hidden * s.dense, 0};
    case Unit::kMoeLayer:
      return {layer + 3 * s.hidden * s.shared + s.experts * s.hidden + s.experts,
              3 * s.hidden * s.inner * s.experts_here};
    case Unit::kMtpProjection: return {2 * s.hidden * s.hidden + 3 * s.hidden, 0};
    case Unit::kHead: return {s.vocabulary * s.hidden + s.hidden, 0};
  }
  return {};
}

double saved_bytes_of(Unit unit, const Job& job) {
  const Sizes s(job);
  const double number = s.fp8 ? 1 : 2;
  const double output = s.fp8 ? 1.5 : 2;  // E5M6 in 12 bits
  // Both residuals, latents, attention's output and log-sum-exp; the rest is computed again.
  const double attention = 2 * 2 * s.hidden + 2 * (s.q_latent + s.kv_projected) + 2 * s.queries +
                           2 * s.keys_values + output * s.values + 4 * s.heads;
  const double recomputed = 2 * s.queries * (s.q_latent > 0 ? 1 : 0) + 2 * s.keys_values;
  const double layer = attention - recomputed;
  switch (unit) {
    case Unit::kEmbedding: return 0;
    case Unit::kDenseLayer: return s.tokens * (layer + number * (s.hidden + 2 * s.dense));
    case Unit::kMoeLayer:
      return s.tokens * (layer + number * (s.hidden + 2 * s.shared)) +
             s.rows * number * (s.hidden + 2 * s.inner);
    case Unit::kMtpProjection: return s.tokens * 4 * s.hidden;
    case Unit::kHead: return s.tokens * 4 * s.hidden;
  }
  return 0;
}

double operations_per_token(const Job& job, bool is_causal) {
  const Sizes s(job);
  double parameters = s.vocabulary * s.hidden;
  for (std::int64_t layer = 0; layer < job.model.num_hidden_layers; ++layer) {
    parameters += s.attention_parameters();
    parameters += job.model.is_moe(layer)
                      ? 3 * s.hidden * (s.shared + s.inner * real(job.model.num_experts_per_tok)) +
                            s.experts * s.hidden
                      : 3 * s.hidden * s.dense;
  }
  const double attention = 3 * (is_causal ? 1 : 2) * s.length * (s.queries + s.values) *
                           real(job.model.num_hidden_layers);
  return 6 * parameters + attention;
}

}  // namespace sluice::cost
