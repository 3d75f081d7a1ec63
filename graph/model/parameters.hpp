// Parameters under their checkpoint names, and the linear map that most of them belong to.
//
// An owner (a stage, an expert group) holds a ParameterSet. Layers register their parameters there
// and keep the storage that kernels use; names that are fused in memory (gate_proj and up_proj) are
// slices of one tensor.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/model_config.hpp"
#include "kernels/cpu/compute_context.hpp"
#include "kernels/gemm/gemm.hpp"

namespace sluice::model {

/// fp32: everything in fp32. bf16: weights and activations in BF16, master weights, gradients and
/// sums in fp32.
enum class Recipe { kFp32, kBf16 };
[[nodiscard]] constexpr DType activation_dtype(Recipe recipe) {
  return recipe == Recipe::kFp32 ? DType::kF32 : DType::kBF16;
}

enum class ParameterKind {
  kMatrix,    ///< two dimensions: weight decay applies
  kVector,    ///< a norm's weight: no decay
  kGateBias,  ///< e_score_correction_bias: moved by the load, no gradient, always fp32
};

/// What kernels read of a matrix: in the recipe's type, or the fp32 master weights whatever the
/// recipe (the gate).
enum class ComputeCopy { kRecipe, kMaster };

/// One tensor of the checkpoint. All tensors share `shape`; those that do not apply are empty.
struct Parameter {
  std::string name;  ///< "model.layers.3.self_attn.o_proj.weight"
  ParameterKind kind = ParameterKind::kMatrix;
  Shape shape;
  Tensor master;   ///< fp32
  Tensor compute;  ///< what kernels read: `master` itself (fp32 recipe, norms, gate) or a BF16 copy
  Tensor gradient;  ///< fp32; training only
  Tensor m, v;      ///< fp32 moments; training only
  /// A routed expert's: a step in which no token reached the expert leaves weights, moments and
  /// `updates` as they are (in PyTorch its gradient is None then).
  bool is_expert = false;
  bool reached = false;      ///< experts: by a token since clear_gradients
  std::int64_t updates = 0;  ///< optimizer updates so far: state, as the moments are
  /// Another owner holds the same parameter, counts and saves it; here it is kept equal.
  bool is_replica = false;
};

/// What an owner's parameters are for; decides which tensors exist.
enum class ParameterUse {
  kTraining,
  kInference,
  kShapes,  ///< training's, without storage: for a host that runs no task bodies
};

/// Neither copied nor moved: layers hold its address.
class ParameterSet {
 public:
  ParameterSet(Recipe recipe, ParameterUse use) : recipe_(recipe), use_(use) {}
  ParameterSet(const ParameterSet&) = delete;
  ParameterSet& operator=(const ParameterSet&) = delete;

  [[nodiscard]] Recipe recipe() const { return recipe_; }
  [[nodiscard]] ParameterUse use() const { return use_; }
  [[nodiscard]] std::span<Parameter> all() { return parameters_; }
  [[nodiscard]] std::span<const Parameter> all() const { return parameters_; }
  [[nodiscard]] Parameter* find(std::string_view name);

  /// Adds one parameter with storage of its own, and returns its index.
  std::size_t add(std::string name, ParameterKind kind, Shape shape,
                  ComputeCopy copy = ComputeCopy::kRecipe);
  /// Adds matrices stacked along rows in one storage ([sum of rows, columns]); returns the index of
  /// the first. The whole is reached through `whole`.
  std::size_t add_stacked(std::span<const std::string> names, std::span<const std::int64_t> rows,
                          std::int64_t columns);
  struct Whole {
    Tensor compute;
    Tensor gradient;
  };
  /// The storage of the parameter or stack whose first index is `first`.
  [[nodiscard]] Whole whole(std::size_t first) const;

  /// Master weights: standard normal times initializer_range, keyed by (seed, name, index), so
  /// independent of the layout; norms 1, biases 0. `refresh_compute` comes after.
  void initialize(const ModelConfig& config, std::uint64_t seed);
  /// After the master weights were written (initialised, loaded): makes the BF16 copies (bf16
  /// recipe) and a new version.
  void refresh_compute(const kernels::ComputeContext& context);
  /// Counts changes of the weights: layers repack on their next use when it moved. An optimizer
  /// that wrote master and compute weights calls `bump_version`.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  void bump_version() { ++version_; }
  /// Zeroes gradients and forgets which experts were reached.
  void clear_gradients(const kernels::ComputeContext& context);
  void mark_expert(std::size_t index) { parameters_[index].is_expert = true; }
  void mark_replica(std::size_t index) { parameters_[index].is_replica = true; }
  void mark_reached(std::size_t index) { parameters_[index].reached = true; }

  /// Of all tensors held: weights, copies, gradients, moments.
  [[nodiscard]] std::size_t size_bytes() const;

 private:
  /// One storage: a parameter's, or a stack's.
  struct Block {
    std::size_t first = 0;
    Tensor master, compute, gradient, m, v;
  };
  [[nodiscard]] Tensor make_tensor(DType dtype, Shape shape) const;
  [[nodiscard]] Block make_block(ParameterKind kind, Shape shape, ComputeCopy copy) const;
  std::size_t append(Parameter parameter);

  Recipe recipe_;
  ParameterUse use_;
  std::vector<Parameter> parameters_;
  std::vector<Block> blocks_;  // ascending by first
  std::map<std::string, std::size_t, std::less<>> index_;
  std::uint64_t version_ = 1;
};

/// y = x · Wᵀ with W [N, K] from a ParameterSet; operands packed at most once per version of the
/// weights.
class Linear {
 public:
  Linear() = default;
  /// Over the parameter or the stack that begins at index `first`.
  Linear(const ParameterSet& set, std::size_t first);

  [[nodiscard]] std::int64_t inputs() const { return weight_.shape()[1]; }
  [[nodiscard]] std::int64_t outputs() const { return weight_.shape()[0]; }
  /// x [T, K] -> y [T, N].
  void forward(const kernels::ComputeContext& context, TensorView x, TensorView y);
  /// dy [T, N] -> dx [T, K]; added to dx (fp32 only) with accumulate. dx may be BF16 where the
  /// weights are fp32 (the gate).
  void backward_input(const kernels::ComputeContext& context, TensorView dy, TensorView dx,
                      bool accumulate = false);
  /// gradient [N, K] += dyᵀ · x.
  void backward_weight(const kernels::ComputeContext& context, TensorView dy, TensorView x);

  [[nodiscard]] const Tensor& weight() const { return weight_; }
  [[nodiscard]] const Tensor& gradient() const { return gradient_; }
  /// Wᵀ and W as right operands; packed now if the weights changed since. Inference never asks for
  /// the second, so it never takes that memory.
  [[nodiscard]] const kernels::PackedB& packed_forward(const kernels::ComputeContext& context);
  [[nodiscard]] const kernels::PackedB& packed_backward(const kernels::ComputeContext& context);

 private:
  const ParameterSet* set_ = nullptr;
  Tensor weight_;
  Tensor gradient_;
  kernels::PackedB forward_, backward_;
  std::uint64_t forward_version_ = 0, backward_version_ = 0;
};

}  // namespace sluice::model
