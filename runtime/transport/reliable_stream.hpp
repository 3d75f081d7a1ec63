// Order and certainty over a link that loses, repeats and reorders frames.
//
// The two halves of one direction between two actors: the sender numbers frames and sends again
// what is not acknowledged in time; the receiver hands on each once, in order, and says how far it
// got. Pure logic on numbers and times: whoever drives it keeps the frames and owns the clock.
// SimHost does so over a simulated link; a transport without guarantees of its own can do the same.
//
//   StreamSender                                   StreamReceiver
//   number = sender.send(now)     -- frame ------> receiver.arrive(number) -> how many to hand on
//   sender.acknowledge(next)      <- next -------- receiver.next(), after every arrival
//   sender.overdue(now)           -- again ------>
//
// # Why one acknowledgement, not one for each frame?
// "All before `next`" may be lost or late itself and does no harm: the following one says it again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace sluice::transport {

/// Of frames in one direction, from 0 on.
using FrameNumber = std::uint64_t;

class StreamSender {
 public:
  struct Config {
    std::int64_t timeout_ns = 1'000'000;       ///< until a frame goes out for the second time
    std::int64_t timeout_ns_max = 16'000'000;  ///< it doubles with every time, up to this
    std::int32_t attempts_max = 12;            ///< times a frame goes out before the peer is lost
  };
  explicit StreamSender(Config config) : config_(config) {}

  /// The number of a new frame, which goes out now.
  [[nodiscard]] FrameNumber send(std::int64_t now_ns);
  /// Every frame before `next` has arrived. Old news is nothing.
  void acknowledge(FrameNumber next);
  /// Frames whose time is up, in order; they go out again now. Once a frame has gone out
  /// attempts_max times in vain, the peer is lost, and nothing goes out any more.
  [[nodiscard]] std::vector<FrameNumber> overdue(std::int64_t now_ns);
  /// When overdue() is to be asked next; absent where nothing waits for an answer.
  [[nodiscard]] std::optional<std::int64_t> deadline() const;

  [[nodiscard]] bool peer_is_lost() const { return peer_is_lost_; }
  /// First frame that has not been acknowledged.
  [[nodiscard]] FrameNumber acknowledged() const { return acknowledged_; }

 private:
  struct Waiting {
    std::int64_t deadline_ns = 0;
    std::int64_t timeout_ns = 0;
    std::int32_t attempts = 1;
  };

  Config config_;
  FrameNumber next_ = 0;
  FrameNumber acknowledged_ = 0;
  std::map<FrameNumber, Waiting> waiting_;
  bool peer_is_lost_ = false;
};

class StreamReceiver {
 public:
  /// Frames ahead of a missing one that are kept; one still further ahead is dropped, and comes
  /// again.
  explicit StreamReceiver(std::size_t window = 1024) : window_(window) {}

  enum class Arrival : std::uint8_t {
    kNext,     ///< the one awaited: frames [number, next()) are to be handed on
    kEarly,    ///< kept until those before it are here
    kAgain,    ///< known already; dropped
    kTooEarly  ///< beyond the window; dropped
  };
  [[nodiscard]] Arrival arrive(FrameNumber number);
  /// First frame that is missing: the acknowledgement.
  [[nodiscard]] FrameNumber next() const { return next_; }

 private:
  std::size_t window_;
  FrameNumber next_ = 0;
  std::set<FrameNumber> early_;
};

}  // namespace sluice::transport
