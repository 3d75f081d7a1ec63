// Shares of ports, and ports of ranks.
#include "runtime/host/sim_links.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.hpp"

namespace sluice::host {
namespace {

constexpr double kTiny = 1e-9;  // of a transfer: less than a byte of a gigabyte

}  // namespace

SharedPorts::Transfer SharedPorts::begin(std::vector<PortUse> uses, std::int64_t now_ns) {
  go_on(now_ns);
  for (const PortUse& use : uses) ++users_.at(static_cast<std::size_t>(use.port));
  transfers_.emplace(next_, Under{std::move(uses), 1});
  return next_++;
}

double SharedPorts::left_ns(const Under& transfer) const {
  double pace_ns = 0;  // of the whole transfer, as shares are now
  for (const PortUse& use : transfer.uses)
    pace_ns = std::max(pace_ns, use.alone_ns * users_[static_cast<std::size_t>(use.port)]);
  return pace_ns * transfer.left;
}

void SharedPorts::go_on(std::int64_t now_ns) {
  const double passed = static_cast<double>(now_ns) - now_ns_;
  SLUICE_CHECK_GE(passed, 0);
  now_ns_ = static_cast<double>(now_ns);
  for (auto& [id, transfer] : transfers_) {
    const double left = left_ns(transfer);
    transfer.left = left <= passed ? 0 : transfer.left * (1 - passed / left);
  }
}

std::optional<std::int64_t> SharedPorts::next_end_ns() const {
  std::optional<std::int64_t> next;
  for (const auto& [id, transfer] : transfers_) {
    const auto end = static_cast<std::int64_t>(std::ceil(now_ns_ + left_ns(transfer) - kTiny));
    next = std::min(next.value_or(end), end);
  }
  return next;
}

std::vector<SharedPorts::Transfer> SharedPorts::end(std::int64_t now_ns) {
  go_on(now_ns);
  std::vector<Transfer> done;
  for (const auto& [id, transfer] : transfers_) {
    if (transfer.left <= kTiny) done.push_back(id);
  }
  for (const Transfer id : done) {
    const auto transfer = transfers_.find(id);
    for (const PortUse& use : transfer->second.uses) --users_[static_cast<std::size_t>(use.port)];
    transfers_.erase(transfer);
  }
  return done;
}

ClusterLinks::Route ClusterLinks::route(std::int32_t from, std::int32_t to,
                                        std::int64_t bytes) const {
  SLUICE_CHECK(from != to && from >= 0 && to >= 0 && from < ranks && to < ranks);
  const auto size = static_cast<double>(bytes);
  if (from / ranks_per_node == to / ranks_per_node) {
    const double alone_ns = size / nvlink_gb_s;  // a GB/s is a byte a nanosecond
    return {{{nvlink_out(from), alone_ns}, {nvlink_in(to), alone_ns}}, nvlink_latency_ns};
  }
  const double alone_ns = size / ib_gb_s;
  return {{{ib_out(from), alone_ns}, {ib_in(to), alone_ns}}, ib_latency_ns};
}

}  // namespace sluice::host
