// Links between simulated ranks: what a transfer takes beside others.
//
// Every rank has an InfiniBand port of its own (one NIC per GPU) and an NVLink port, both full
// duplex: what it sends and what it receives do not share. Transfers on one port share its
// bandwidth evenly; a transfer goes at the pace of the narrowest share among the ports it crosses,
// and arrives a latency after its last byte. Switches between ports are never the limit.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "actors/message.hpp"

namespace sluice::host {

/// A port, and how long the transfer holds it alone.
struct PortUse {
  std::int32_t port = 0;
  double alone_ns = 0;
};

/// Transfers under way on ports numbered from 0.
class SharedPorts {
 public:
  using Transfer = std::uint64_t;

  explicit SharedPorts(std::int32_t ports) : users_(static_cast<std::size_t>(ports), 0) {}

  /// `uses` names each port once. Time never goes back.
  Transfer begin(std::vector<PortUse> uses, std::int64_t now_ns);
  /// When the next transfer ends, if nothing begins before.
  [[nodiscard]] std::optional<std::int64_t> next_end_ns() const;
  /// Those whose last byte is through by now, in the order in which they began.
  [[nodiscard]] std::vector<Transfer> end(std::int64_t now_ns);

 private:
  struct Under {
    std::vector<PortUse> uses;
    double left = 1;  ///< of it, at time now_ns_
  };
  [[nodiscard]] double left_ns(const Under& transfer) const;
  void go_on(std::int64_t now_ns);

  std::vector<std::int32_t> users_;  // by port
  std::map<Transfer, Under> transfers_;
  Transfer next_ = 0;
  double now_ns_ = 0;
};

/// How ranks are joined. Bandwidths of a port, one way.
struct ClusterLinks {
  std::int32_t ranks = 1;
  std::int32_t ranks_per_node = 8;
  double nvlink_gb_s = 0;
  double ib_gb_s = 0;
  std::int64_t nvlink_latency_ns = 0;
  std::int64_t ib_latency_ns = 0;

  struct Route {
    std::vector<PortUse> uses;
    std::int64_t latency_ns = 0;
  };
  /// Of `bytes` from one rank to another.
  [[nodiscard]] Route route(std::int32_t from, std::int32_t to, std::int64_t bytes) const;
  [[nodiscard]] std::int32_t ports() const { return ranks * 4; }
  // Ports of a rank.
  [[nodiscard]] static std::int32_t ib_out(std::int32_t rank) { return 4 * rank; }
  [[nodiscard]] static std::int32_t ib_in(std::int32_t rank) { return 4 * rank + 1; }
  [[nodiscard]] static std::int32_t nvlink_out(std::int32_t rank) { return 4 * rank + 2; }
  [[nodiscard]] static std::int32_t nvlink_in(std::int32_t rank) { return 4 * rank + 3; }
};

}  // namespace sluice::host
