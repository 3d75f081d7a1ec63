// A lane keeps a clock of its work; what a channel has on its way reads that clock when it sets out
// and when it has come.
#include "runtime/host/overlap_meter.hpp"

#include <algorithm>

#include "graph/plan.hpp"

namespace sluice::host {

using actors::ActorIndex;
using actors::Message;
using actors::Task;

void OverlapMeter::set_plan(const graph::Plan& plan, bool ranks_share_lanes) {
  lanes_.assign(ranks_share_lanes ? 1 : static_cast<std::size_t>(plan.ranks()), {});
  lane_of_.clear();
  for (const graph::ActorPlan& actor : plan.actors)
    lane_of_.push_back(ranks_share_lanes ? 0 : static_cast<std::size_t>(actor.rank));
  channel_of_.assign(plan.actors.size(), -1);
  channels_.clear();
  for (const graph::ChannelPlan& channel : plan.channels) {
    channel_of_[static_cast<std::size_t>(channel.actor)] =
        static_cast<std::int32_t>(channels_.size());
    channels_.push_back({lane_of_[static_cast<std::size_t>(channel.to)]});
  }
}

OverlapMeter::Shares OverlapMeter::take() {
  const std::lock_guard lock(mutex_);
  std::int64_t busy_ns = 0;
  for (const Lane& lane : lanes_) busy_ns += lane.busy_until(now_ns_);
  for (Channel& channel : channels_) {
    if (channel.on_way == 0) continue;
    book(channel);
    begin(channel);
  }
  const auto share = [](std::int64_t part, std::int64_t of, double otherwise) {
    return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : otherwise;
  };
  const std::int64_t lanes_ns = (now_ns_ - taken_ns_) * static_cast<std::int64_t>(lanes_.size());
  const Shares out{share(lanes_ns - (busy_ns - taken_busy_ns_), lanes_ns, 0),
                   share(hidden_ns_, on_way_ns_, 1)};
  hidden_ns_ = on_way_ns_ = 0;
  taken_ns_ = now_ns_;
  taken_busy_ns_ = busy_ns;
  return out;
}

// Threads may be here in another order than that of their clocks, by next to nothing.
void OverlapMeter::advance(std::int64_t now_ns) { now_ns_ = std::max(now_ns_, now_ns); }

void OverlapMeter::begin(Channel& channel) const {
  channel.since_ns = now_ns_;
  channel.lane_busy_then = lanes_[channel.lane].busy_until(now_ns_);
}

void OverlapMeter::book(const Channel& channel) {
  on_way_ns_ += now_ns_ - channel.since_ns;
  hidden_ns_ += lanes_[channel.lane].busy_until(now_ns_) - channel.lane_busy_then;
}

bool OverlapMeter::is_channel(ActorIndex actor) const {
  return actor >= 0 && channel_of_[static_cast<std::size_t>(actor)] >= 0;
}

void OverlapMeter::on_send(ActorIndex from, ActorIndex to, const Message& message,
                           std::int64_t now_ns) {
  const bool enters = from >= 0 && is_channel(to) && !is_channel(from) &&
                      !std::holds_alternative<actors::Credit>(message.body);
  if (!enters) return;
  const std::lock_guard lock(mutex_);
  advance(now_ns);
  Channel& channel = channels_[static_cast<std::size_t>(channel_of_[static_cast<std::size_t>(to)])];
  if (channel.on_way++ == 0) begin(channel);
}

void OverlapMeter::on_delivery(ActorIndex to, const Message& message, std::int64_t now_ns) {
  if (message.via == graph::kNoActor || is_channel(to)) return;
  const std::lock_guard lock(mutex_);
  advance(now_ns);
  Channel& channel =
      channels_[static_cast<std::size_t>(channel_of_[static_cast<std::size_t>(message.via)])];
  if (--channel.on_way == 0) book(channel);
}

void OverlapMeter::on_start(ActorIndex actor, const Task& task, std::int64_t now_ns) {
  if (task.lane != actors::Lane::kCompute) return;
  const std::lock_guard lock(mutex_);
  advance(now_ns);
  Lane& lane = lanes_[lane_of_[static_cast<std::size_t>(actor)]];
  lane.is_running = true;
  lane.since_ns = now_ns_;
}

void OverlapMeter::on_task(ActorIndex actor, const Task& task, TaskTimes times) {
  if (task.lane != actors::Lane::kCompute) return;
  const std::lock_guard lock(mutex_);
  advance(times.ended_ns);
  Lane& lane = lanes_[lane_of_[static_cast<std::size_t>(actor)]];
  lane.busy_ns = lane.busy_until(now_ns_);
  lane.is_running = false;
}

void BothObservers::on_send(ActorIndex from, ActorIndex to, const Message& message,
                            std::int64_t now_ns) {
  if (first_ != nullptr) first_->on_send(from, to, message, now_ns);
  if (second_ != nullptr) second_->on_send(from, to, message, now_ns);
}

void BothObservers::on_delivery(ActorIndex to, const Message& message, std::int64_t now_ns) {
  if (first_ != nullptr) first_->on_delivery(to, message, now_ns);
  if (second_ != nullptr) second_->on_delivery(to, message, now_ns);
}

void BothObservers::on_start(ActorIndex actor, const Task& task, std::int64_t now_ns) {
  if (first_ != nullptr) first_->on_start(actor, task, now_ns);
  if (second_ != nullptr) second_->on_start(actor, task, now_ns);
}

void BothObservers::on_task(ActorIndex actor, const Task& task, TaskTimes times) {
  if (first_ != nullptr) first_->on_task(actor, task, times);
  if (second_ != nullptr) second_->on_task(actor, task, times);
}

}  // namespace sluice::host
