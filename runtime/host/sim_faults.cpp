// Frames on their way: lost, doubled, late; and who is given up.
#include "runtime/host/sim_faults.hpp"

#include <cmath>

#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::host {

using actors::Message;
using transport::FrameNumber;
using transport::StreamReceiver;
using transport::StreamSender;

std::int64_t Faults::slowed(std::int64_t duration_ns, std::int32_t rank,
                            std::int64_t now_ns) const {
  double factor = 1;
  for (const SlowDevice& slow : slow_devices) {
    if (slow.rank == rank && now_ns >= slow.from_ns && now_ns < slow.until_ns)
      factor *= slow.factor;
  }
  return std::llround(static_cast<double>(duration_ns) * factor);
}

// The seed's numbers of the host and of its links are of different steps.
FaultyLinks::FaultyLinks(const Faults& faults, std::uint64_t seed, Port& port)
    : faults_(faults), random_(seed, RandomPurpose::kSimulation, 1), port_(port) {
  if (faults_.dead_worker) {
    const Faults::DeadWorker& dead = *faults_.dead_worker;
    port_.schedule(dead.at_ns + dead.silence_ns_max, {LinkEvent::Kind::kSilence, 0, 0});
  }
}

bool FaultyLinks::draw(double share) {
  return share > 0 && static_cast<double>(random_.uniform(draws_++)) < share;
}

std::size_t FaultyLinks::link_of(ActorIndex from, ActorIndex to) {
  const auto [found, is_new] = by_ends_.try_emplace({from, to}, links_.size());
  if (is_new) links_.push_back({from, to, StreamSender(faults_.stream), StreamReceiver(), {}, {}});
  return found->second;
}

void FaultyLinks::send(ActorIndex from, ActorIndex to, Message message, std::int64_t now_ns) {
  const std::size_t index = link_of(from, to);
  Link& link = links_[index];
  const FrameNumber number = link.sender.send(now_ns);
  const auto frame = link.frames.emplace(number, std::move(message)).first;
  transmit({LinkEvent::Kind::kFrame, index, number}, frame->second, to, now_ns);
  set_timer(index);
}

void FaultyLinks::transmit(LinkEvent event, const Message& message, ActorIndex to,
                           std::int64_t now_ns) {
  const int copies = draw(faults_.duplicated) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    if (draw(faults_.lost)) continue;
    std::int64_t delay = port_.delay_ns(message, to);
    if (draw(faults_.late)) {
      delay += static_cast<std::int64_t>(
          random_.below(static_cast<std::uint64_t>(faults_.late_ns_max) + 1, draws_++));
    }
    port_.schedule(now_ns + delay, event);
  }
}

// One timer a link is in the queue; a later deadline is looked at when the earlier one has come.
void FaultyLinks::set_timer(std::size_t index) {
  Link& link = links_[index];
  const auto deadline = link.sender.deadline();
  if (!deadline || (link.timer_ns && *link.timer_ns <= *deadline)) return;
  link.timer_ns = deadline;
  port_.schedule(*deadline, {LinkEvent::Kind::kTimer, index, 0});
}

void FaultyLinks::happen(const LinkEvent& event, std::int64_t now_ns) {
  if (event.kind == LinkEvent::Kind::kSilence) {
    SLUICE_SOMETIMES(true, "a dead worker is found out by its silence");
    lost_rank_ = faults_.dead_worker->rank;
    return;
  }
  Link& link = links_[event.link];
  const bool at_receiver = event.kind == LinkEvent::Kind::kFrame;
  if (faults_.is_dead(port_.rank_of(at_receiver ? link.to : link.from), now_ns)) return;
  if (at_receiver) {
    take_frame(event, now_ns);
  } else if (event.kind == LinkEvent::Kind::kAnswer) {
    link.sender.acknowledge(event.number);
  } else {
    take_timer(event, now_ns);
  }
}

// Every arrival is answered, since the answer to an earlier one may be lost.
void FaultyLinks::take_frame(const LinkEvent& event, std::int64_t now_ns) {
  const FrameNumber before = links_[event.link].receiver.next();
  static_cast<void>(links_[event.link].receiver.arrive(event.number));
  const FrameNumber next = links_[event.link].receiver.next();
  for (FrameNumber number = before; number < next; ++number) {
    Link& link = links_[event.link];
    Message message = std::move(link.frames.extract(number).mapped());
    port_.hand_over(link.from, link.to, std::move(message));
  }
  const ActorIndex sender = links_[event.link].from;
  transmit({LinkEvent::Kind::kAnswer, event.link, next}, Message{}, sender, now_ns);
}

void FaultyLinks::take_timer(const LinkEvent& event, std::int64_t now_ns) {
  Link& link = links_[event.link];
  if (!link.timer_ns || *link.timer_ns > now_ns) return;
  link.timer_ns.reset();
  for (const FrameNumber number : link.sender.overdue(now_ns)) {
    const auto frame = link.frames.find(number);
    SLUICE_SOMETIMES(frame == link.frames.end(), "only the acknowledgement was lost");
    transmit({LinkEvent::Kind::kFrame, event.link, number},
             frame == link.frames.end() ? Message{} : frame->second, link.to, now_ns);
  }
  if (link.sender.peer_is_lost()) {
    SLUICE_SOMETIMES(true, "a sender gives up a dead worker");
    lost_rank_ = port_.rank_of(link.to);
    return;
  }
  set_timer(event.link);
}

}  // namespace sluice::host
