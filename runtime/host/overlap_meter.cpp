// Time between two events is booked by what was going on in it.
#include "runtime/host/overlap_meter.hpp"

#include <algorithm>

#include "graph/plan.hpp"

namespace sluice::host {

using actors::ActorIndex;
using actors::Message;
using actors::Task;

void OverlapMeter::set_plan(const graph::Plan& plan) {
  is_channel_.assign(plan.actors.size(), false);
  for (const graph::ChannelPlan& channel : plan.channels)
    is_channel_[static_cast<std::size_t>(channel.actor)] = true;
}

OverlapMeter::Shares OverlapMeter::take() {
  const std::lock_guard lock(mutex_);
  const auto share = [](std::int64_t part, std::int64_t of, double otherwise) {
    return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : otherwise;
  };
  const Shares out{share(all_ns_ - busy_ns_, all_ns_, 0),
                   share(hidden_ns_, hidden_ns_ + exposed_ns_, 1)};
  all_ns_ = busy_ns_ = hidden_ns_ = exposed_ns_ = 0;
  return out;
}

// Threads may be here in another order than that of their clocks, by next to nothing.
void OverlapMeter::advance(std::int64_t now_ns) {
  const std::int64_t passed = std::max<std::int64_t>(now_ns - now_ns_, 0);
  now_ns_ += passed;
  all_ns_ += passed;
  if (running_ > 0) busy_ns_ += passed;
  if (on_way_ > 0) (running_ > 0 ? hidden_ns_ : exposed_ns_) += passed;
}

void OverlapMeter::on_send(ActorIndex from, ActorIndex to, const Message& message,
                           std::int64_t now_ns) {
  const bool enters = from >= 0 && to >= 0 && is_channel_[static_cast<std::size_t>(to)] &&
                      !is_channel_[static_cast<std::size_t>(from)] &&
                      !std::holds_alternative<actors::Credit>(message.body);
  if (!enters) return;
  const std::lock_guard lock(mutex_);
  advance(now_ns);
  ++on_way_;
}

void OverlapMeter::on_delivery(ActorIndex to, const Message& message, std::int64_t now_ns) {
  if (message.via == graph::kNoActor || is_channel_[static_cast<std::size_t>(to)]) return;
  const std::lock_guard lock(mutex_);
  advance(now_ns);
  --on_way_;
}

void OverlapMeter::on_start(ActorIndex, const Task& task, std::int64_t now_ns) {
  if (task.lane != actors::Lane::kCompute) return;
  const std::lock_guard lock(mutex_);
  advance(now_ns);
  ++running_;
}

void OverlapMeter::on_task(ActorIndex, const Task& task, TaskTimes times) {
  if (task.lane != actors::Lane::kCompute) return;
  const std::lock_guard lock(mutex_);
  advance(times.ended_ns);
  --running_;
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
