// Sums of gradients: micro-batches in order, parts and routes along a binary tree over numbers.
#include <bit>
#include <cstring>

#include "actors/owner.hpp"
#include "kernels/base/check.hpp"
#include "kernels/norm/rms_norm.hpp"
#include "kernels/optimizer/adamw.hpp"

namespace sluice::actors {
namespace {

using kernels::ComputeContext;

// The tree over numbers: the largest power of two on the left, the rest on the right.
std::vector<Tensor> tree_sum(const ComputeContext& context,
                             std::span<const std::vector<Tensor>> leaves) {
  if (leaves.size() == 1) return leaves.front();
  const std::size_t left = std::bit_floor(leaves.size() - 1);
  const std::vector<Tensor> a = tree_sum(context, leaves.first(left));
  const std::vector<Tensor> b = tree_sum(context, leaves.subspan(left));
  std::vector<Tensor> out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    out.push_back(context.make(DType::kF32, a[i].shape()));
    kernels::add(context, a[i].view(), b[i].view(), out.back().view());
  }
  return out;
}

}  // namespace

Owner::Sum::Sum(model::ParameterSet& set, const graph::Plan& plan, const graph::ChunkPlan& chunk,
                std::int32_t id, std::size_t first)
    : set_(&set),
      chunk_(&chunk),
      id_(id),
      first_(first),
      last_(set.all().size()),
      micro_batches_(plan.options.micro_batches),
      parts_(plan.options.gradient_shards) {
  const auto routes = static_cast<std::int64_t>(plan.placement.routes().size());
  part_count_ = parts_ / routes;
  part_first_ = chunk.route * part_count_;
  for (std::size_t i = first_; chunk.is_replica() && i < last_; ++i) set.mark_replica(i);
  begin();
}

std::span<model::Parameter> Owner::Sum::parameters() const {
  return set_->all().subspan(first_, last_ - first_);
}

std::int64_t Owner::Sum::part_end(std::int64_t part) const {
  return (part + 1) * micro_batches_ / parts_;
}

void Owner::Sum::begin() {
  SLUICE_CHECK(subtrees_.empty());
  parts_done_ = 0;
  turns_.reset(chunk_->micro_batch_first);
}

void Owner::Sum::added(const ComputeContext& context, std::int32_t micro_batch) {
  if (micro_batch + 1 != part_end(part_first_ + parts_done_)) return;
  // As in counting: each one bit at the end of the number of earlier parts is a subtree of the size
  // of what has been put together so far.
  for (std::int64_t earlier = parts_done_; earlier % 2 == 1; earlier /= 2) add_newest(context);
  if (++parts_done_ == part_count_) {
    while (!subtrees_.empty()) add_newest(context);
    return;
  }
  subtrees_.push_back(copy(context));
  for (const model::Parameter& p : parameters()) {
    if (!p.gradient.empty()) kernels::clear(context, p.gradient.values<float>());
  }
}

void Owner::Sum::add_newest(const ComputeContext& context) {
  std::size_t i = 0;
  for (const model::Parameter& p : parameters()) {
    if (p.gradient.empty()) continue;
    kernels::add(context, subtrees_.back()[i++].view(), p.gradient.view(), p.gradient.view());
  }
  subtrees_.pop_back();
}

std::vector<Tensor> Owner::Sum::copy(const ComputeContext& context) const {
  std::vector<Tensor> out;
  for (const model::Parameter& p : parameters()) {
    if (p.gradient.empty()) continue;
    out.push_back(context.make(DType::kF32, p.gradient.shape()));
    std::memcpy(out.back().bytes(), p.gradient.bytes(), p.gradient.size_bytes());
  }
  return out;
}

std::vector<Tensor> Owner::Sum::shapes() const {
  std::vector<Tensor> out;
  for (const model::Parameter& p : parameters()) {
    if (!p.gradient.empty()) out.push_back(Tensor::meta(DType::kF32, p.gradient.shape()));
  }
  return out;
}

void Owner::Sum::take(const ComputeContext& context, std::span<const std::vector<Tensor>> routes) {
  const std::vector<Tensor> total = tree_sum(context, routes);
  std::size_t i = 0;
  for (const model::Parameter& p : parameters()) {
    if (p.gradient.empty()) continue;
    std::memcpy(p.gradient.bytes(), total[i++].bytes(), p.gradient.size_bytes());
  }
}

}  // namespace sluice::actors
