// Time-outs with back-off, and the frames that came before their turn.
#include "runtime/transport/reliable_stream.hpp"

#include <algorithm>

#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::transport {

FrameNumber StreamSender::send(std::int64_t now_ns) {
  waiting_.emplace(next_, Waiting{now_ns + config_.timeout_ns, config_.timeout_ns, 1});
  return next_++;
}

void StreamSender::acknowledge(FrameNumber next) {
  SLUICE_CHECK_LE(next, next_);
  SLUICE_SOMETIMES(next < acknowledged_, "an acknowledgement overtakes an older one");
  if (next <= acknowledged_) return;
  waiting_.erase(waiting_.begin(), waiting_.lower_bound(next));
  acknowledged_ = next;
}

std::vector<FrameNumber> StreamSender::overdue(std::int64_t now_ns) {
  std::vector<FrameNumber> again;
  if (peer_is_lost_) return again;
  for (auto& [number, frame] : waiting_) {
    if (frame.deadline_ns > now_ns) continue;
    if (frame.attempts == config_.attempts_max) {
      peer_is_lost_ = true;
      return {};
    }
    SLUICE_SOMETIMES(frame.attempts >= 3, "a frame goes out for the fourth time or later");
    frame.attempts += 1;
    frame.timeout_ns = std::min(2 * frame.timeout_ns, config_.timeout_ns_max);
    frame.deadline_ns = now_ns + frame.timeout_ns;
    again.push_back(number);
  }
  SLUICE_SOMETIMES(!again.empty(), "a frame goes out again");
  return again;
}

std::optional<std::int64_t> StreamSender::deadline() const {
  if (waiting_.empty() || peer_is_lost_) return std::nullopt;
  const auto first = std::min_element(
      waiting_.begin(), waiting_.end(),
      [](const auto& a, const auto& b) { return a.second.deadline_ns < b.second.deadline_ns; });
  return first->second.deadline_ns;
}

StreamReceiver::Arrival StreamReceiver::arrive(FrameNumber number) {
  if (number < next_ || early_.contains(number)) {
    SLUICE_SOMETIMES(true, "a frame arrives twice");
    return Arrival::kAgain;
  }
  if (number > next_) {
    if (number - next_ > window_) return Arrival::kTooEarly;
    SLUICE_SOMETIMES(true, "a frame arrives before its turn");
    early_.insert(number);
    return Arrival::kEarly;
  }
  for (++next_; early_.erase(next_) == 1;) ++next_;
  return Arrival::kNext;
}

}  // namespace sluice::transport
