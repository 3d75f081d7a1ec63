// Routes as lists of ranks, and the chunks they make.
#include "graph/schedule/placement.hpp"

#include "kernels/base/check.hpp"

namespace sluice::graph {

Placement::Placement(std::int32_t ranks, std::vector<Route> routes)
    : routes_(std::move(routes)), chunks_(static_cast<std::size_t>(ranks)) {
  for (std::size_t r = 0; r < routes_.size(); ++r) {
    const Route& route = routes_[r];
    SLUICE_CHECK_EQ(route.ranks.size(), routes_.front().ranks.size());
    micro_batch_first_.push_back(micro_batches_);
    micro_batches_ += route.micro_batches;
    std::vector<Holder>& holders = holders_.emplace_back();
    for (std::size_t s = 0; s < route.ranks.size(); ++s) {
      const auto stage = static_cast<std::int32_t>(s);
      std::vector<Chunk>& chunks = chunks_[static_cast<std::size_t>(route.ranks[s])];
      holders.push_back({route.ranks[s], static_cast<std::int32_t>(chunks.size())});
      chunks.push_back({static_cast<std::int32_t>(r), stage, stage >= route.reverse_from ? 1 : 0});
    }
  }
}

Placement Placement::one_way(std::int32_t ranks, std::int32_t stages_per_rank,
                             std::int32_t micro_batches) {
  const std::int32_t stages = ranks * stages_per_rank;
  Route route{{}, micro_batches, stages};
  for (std::int32_t s = 0; s < stages; ++s) route.ranks.push_back(s % ranks);
  return Placement(ranks, {route});
}

Placement Placement::v_shape(std::int32_t ranks, std::int32_t micro_batches) {
  Route route{{}, micro_batches, ranks};
  for (std::int32_t r = 0; r < ranks; ++r) route.ranks.push_back(r);
  for (std::int32_t r = ranks; r-- > 0;) route.ranks.push_back(r);
  return Placement(ranks, {route});
}

Placement Placement::two_ways(std::int32_t ranks, std::int32_t micro_batches) {
  Route down{{}, micro_batches / 2, ranks};
  Route up{{}, micro_batches - micro_batches / 2, 0};
  for (std::int32_t r = 0; r < ranks; ++r) {
    down.ranks.push_back(r);
    up.ranks.push_back(ranks - 1 - r);
  }
  return Placement(ranks, {down, up});
}

Placement Placement::with_micro_batches(std::int32_t total) const {
  const auto count = static_cast<std::int64_t>(routes_.size());
  const auto bound = [&](std::int64_t r) { return static_cast<std::int32_t>(r * total / count); };
  std::vector<Route> routes = routes_;
  for (std::int64_t r = 0; r < count; ++r) {
    routes[static_cast<std::size_t>(r)].micro_batches = bound(r + 1) - bound(r);
  }
  return Placement(ranks(), std::move(routes));
}

std::int32_t Placement::stages() const {
  return routes_.empty() ? 0 : static_cast<std::int32_t>(routes_.front().ranks.size());
}

}  // namespace sluice::graph
