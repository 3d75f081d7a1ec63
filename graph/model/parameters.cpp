// Parameters: storage, stacking, initialisation, compute copies, and the linear map.
#include "graph/model/parameters.hpp"

#include <algorithm>

#include "kernels/base/digest.hpp"
#include "kernels/base/random.hpp"
#include "kernels/convert/convert.hpp"
#include "kernels/optimizer/adamw.hpp"

namespace sluice::model {
namespace {

Tensor slice_or_empty(const Tensor& whole, std::int64_t first, std::int64_t rows) {
  return whole.empty() ? Tensor{} : whole.slice(first, rows);
}

bool is_copy(const Tensor& compute, const Tensor& master) {
  return compute.dtype() != master.dtype();
}

}  // namespace

Parameter* ParameterSet::find(std::string_view name) {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &parameters_[found->second];
}

Tensor ParameterSet::make_tensor(DType dtype, Shape shape) const {
  return use_ == ParameterUse::kShapes ? Tensor::meta(dtype, shape) : Tensor::zeros(dtype, shape);
}

ParameterSet::Block ParameterSet::make_block(ParameterKind kind, Shape shape,
                                             ComputeCopy copy) const {
  Block block;
  block.first = parameters_.size();
  block.master = make_tensor(DType::kF32, shape);
  const bool copied =
      recipe_ == Recipe::kBf16 && kind == ParameterKind::kMatrix && copy == ComputeCopy::kRecipe;
  block.compute = copied ? make_tensor(DType::kBF16, shape) : block.master;
  if (use_ != ParameterUse::kInference && kind != ParameterKind::kGateBias) {
    block.gradient = make_tensor(DType::kF32, shape);
    block.m = make_tensor(DType::kF32, shape);
    block.v = make_tensor(DType::kF32, shape);
  }
  return block;
}

std::size_t ParameterSet::append(Parameter parameter) {
  const std::size_t index = parameters_.size();
  const bool is_new = index_.emplace(parameter.name, index).second;
  SLUICE_CHECK(is_new, "parameter {} registered twice", parameter.name);
  parameters_.push_back(std::move(parameter));
  return index;
}

std::size_t ParameterSet::add(std::string name, ParameterKind kind, Shape shape, ComputeCopy copy) {
  const Block block = make_block(kind, shape, copy);
  blocks_.push_back(block);
  return append({.name = std::move(name),
                 .kind = kind,
                 .shape = shape,
                 .master = block.master,
                 .compute = block.compute,
                 .gradient = block.gradient,
                 .m = block.m,
                 .v = block.v});
}

std::size_t ParameterSet::add_stacked(std::span<const std::string> names,
                                      std::span<const std::int64_t> rows, std::int64_t columns) {
  SLUICE_CHECK_EQ(names.size(), rows.size());
  std::int64_t total = 0;
  for (const std::int64_t n : rows) total += n;
  const Block block =
      make_block(ParameterKind::kMatrix, Shape{total, columns}, ComputeCopy::kRecipe);
  blocks_.push_back(block);
  std::int64_t row = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    append({.name = names[i],
            .kind = ParameterKind::kMatrix,
            .shape = Shape{rows[i], columns},
            .master = block.master.slice(row, rows[i]),
            .compute = block.compute.slice(row, rows[i]),
            .gradient = slice_or_empty(block.gradient, row, rows[i]),
            .m = slice_or_empty(block.m, row, rows[i]),
            .v = slice_or_empty(block.v, row, rows[i])});
    row += rows[i];
  }
  return block.first;
}

ParameterSet::Whole ParameterSet::whole(std::size_t first) const {
  const auto found = std::ranges::lower_bound(blocks_, first, {}, &Block::first);
  SLUICE_CHECK(found != blocks_.end() && found->first == first, "no storage begins at parameter {}",
               first);
  return {found->compute, found->gradient};
}

void ParameterSet::initialize(const ModelConfig& config, std::uint64_t seed) {
  const auto deviation = static_cast<float>(config.initializer_range);
  for (Parameter& parameter : parameters_) {
    const std::span<float> values = parameter.master.values<float>();
    if (parameter.kind != ParameterKind::kMatrix) {
      std::ranges::fill(values, parameter.kind == ParameterKind::kVector ? 1.0f : 0.0f);
      continue;
    }
    const Random random(seed, RandomPurpose::kInitialization, digest(parameter.name));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = deviation * random.normal(i);
  }
}

void ParameterSet::refresh_compute(const kernels::ComputeContext& context) {
  SLUICE_CHECK(use_ != ParameterUse::kShapes, "shapes have nothing to copy");
  for (const Block& block : blocks_) {
    if (is_copy(block.compute, block.master))
      kernels::convert(context, block.master.view(), block.compute.view());
  }
  bump_version();
}

void ParameterSet::clear_gradients(const kernels::ComputeContext& context) {
  for (const Block& block : blocks_) {
    if (!block.gradient.empty()) kernels::clear(context, block.gradient.values<float>());
  }
  for (Parameter& parameter : parameters_) parameter.reached = false;
}

std::size_t ParameterSet::size_bytes() const {
  std::size_t total = 0;
  for (const Block& block : blocks_) {
    total += block.master.size_bytes();
    if (is_copy(block.compute, block.master)) total += block.compute.size_bytes();
    for (const Tensor* t : {&block.gradient, &block.m, &block.v})
      if (!t->empty()) total += t->size_bytes();
  }
  return total;
}

Linear::Linear(const ParameterSet& set, std::size_t first) : set_(&set) {
  const ParameterSet::Whole whole = set.whole(first);
  weight_ = whole.compute;
  gradient_ = whole.gradient;
}

void Linear::forward(const kernels::ComputeContext& context, TensorView x, TensorView y) {
  kernels::gemm(context, x, kernels::Layout::kNormal, packed_forward(context), y);
}

void Linear::backward_input(const kernels::ComputeContext& context, TensorView dy, TensorView dx,
                            bool accumulate) {
  kernels::gemm(context, dy, kernels::Layout::kNormal, packed_backward(context), dx, accumulate);
}

void Linear::backward_weight(const kernels::ComputeContext& context, TensorView dy, TensorView x) {
  kernels::gemm(context, dy, kernels::Layout::kTransposed, x, kernels::Layout::kNormal,
                gradient_.view(), true);
}

const kernels::PackedB& Linear::packed_forward(const kernels::ComputeContext& context) {
  if (forward_version_ != set_->version()) {
    forward_.pack(context, weight_.view(), kernels::Layout::kTransposed);
    forward_version_ = set_->version();
  }
  return forward_;
}

const kernels::PackedB& Linear::packed_backward(const kernels::ComputeContext& context) {
  if (backward_version_ != set_->version()) {
    backward_.pack(context, weight_.view(), kernels::Layout::kNormal);
    backward_version_ = set_->version();
  }
  return backward_;
}

}  // namespace sluice::model
