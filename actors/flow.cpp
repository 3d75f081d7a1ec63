// The mailbox of an actor made of flows, and what wakes them.
#include "actors/flow.hpp"

#include <algorithm>

#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::actors {

Flow Flow::promise_type::get_return_object() {
  next = actor->flows_;
  if (next != nullptr) next->previous = this;
  actor->flows_ = this;
  return {};
}

Flow::promise_type::~promise_type() {
  (previous != nullptr ? previous->next : actor->flows_) = next;
  if (next != nullptr) next->previous = previous;
}

FlowActor::~FlowActor() {
  while (flows_ != nullptr)
    std::coroutine_handle<Flow::promise_type>::from_promise(*flows_).destroy();
}

bool FlowActor::idle() const { return flows_ == nullptr && mailbox_.empty() && tasks_.empty(); }

Waiting FlowActor::waiting() const {
  Waiting out;
  for (const ReceiveAwaiter* receiver : receivers_) out.messages.push_back(receiver->key);
  for (const auto& [channel, sender] : senders_) {
    out.credits[channel] = sender.credits;
    if (!sender.waiting.empty()) out.blocked.push_back(channel);
  }
  for (const auto& [key, message] : mailbox_) out.unread.push_back({key, message.via});
  out.tasks = static_cast<std::int64_t>(tasks_.size());
  for (const Flow::promise_type* flow = flows_; flow != nullptr; flow = flow->next) ++out.flows;
  out.sent = sent_;
  out.received = received_;
  return out;
}

void FlowActor::on_message(Context& context, Message message) {
  context_ = &context;
  deliver(std::move(message));
  while (!ready_.empty()) {
    const std::coroutine_handle<> flow = ready_.front();
    ready_.pop_front();
    flow.resume();
  }
}

void FlowActor::deliver(Message&& message) {
  if (const auto* done = std::get_if<TaskDone>(&message.body)) {
    const auto task = std::find_if(tasks_.begin(), tasks_.end(),
                                   [&](const auto& entry) { return entry.first == done->task; });
    SLUICE_CHECK(task != tasks_.end(), "actor {}: task {} is not running", self_, done->task);
    wake(task->second);
    tasks_.erase(task);
    return;
  }
  if (const auto* credit = std::get_if<Credit>(&message.body)) {
    const auto found = senders_.find(message.from);
    SLUICE_CHECK(found != senders_.end(), "actor {}: credit from {}", self_, message.from);
    Sender& sender = found->second;
    sender.credits += credit->count;
    while (sender.credits > 0 && !sender.waiting.empty()) {
      --sender.credits;  // taken on behalf of the flow that wakes
      wake(sender.waiting.front());
      sender.waiting.pop_front();
    }
    return;
  }
  ++received_[message.via != kNoActor ? message.via : message.from];
  if (message.key.topic == Topic::kControl) return on_control(std::move(message));

  const Key key = message.key;
  if (const auto found = find_receiver(key); found != receivers_.end()) {
    ReceiveAwaiter& receiver = **found;
    receivers_.erase(found);
    give_back_credit(message);
    receiver.message = std::move(message);
    wake(receiver.flow);
    return;
  }
  SLUICE_SOMETIMES(true, "a message arrives before its flow awaits it");
  const bool fresh = mailbox_.emplace(key, std::move(message)).second;
  SLUICE_CHECK(fresh, "actor {}: two messages with one key (topic {}, micro-batch {}, layer {})",
               self_, static_cast<int>(key.topic), key.micro_batch, key.layer);
  on_arrival(key);
}

std::vector<FlowActor::ReceiveAwaiter*>::iterator FlowActor::find_receiver(const Key& key) {
  return std::find_if(receivers_.begin(), receivers_.end(),
                      [&key](const ReceiveAwaiter* receiver) { return receiver->key == key; });
}

void FlowActor::post(ActorIndex to, Message&& message) {
  message.from = self_;
  message.via = kNoActor;
  ++sent_[to];
  context_->send(to, std::move(message));
}

void FlowActor::give_back_credit(const Message& message) {
  if (message.via != kNoActor) context_->send(message.via, Message{{}, self_, kNoActor, Credit{1}});
}

void FlowActor::submit(const TaskSpec& spec, std::coroutine_handle<> flow,
                       std::function<void(const kernels::ComputeContext&)> body,
                       std::function<void()> stand_in) {
  const std::uint64_t id = next_task_++;
  tasks_.emplace_back(id, flow);
  context_->submit({id, spec.name, spec.lane, spec.priority, spec.operations, spec.key,
                    std::move(body), std::move(stand_in)});
}

void FlowActor::open_channel(ActorIndex channel, std::int32_t credits) {
  senders_[channel].credits = credits;
}

bool FlowActor::ReceiveAwaiter::await_ready() {
  const auto found = actor->mailbox_.find(key);
  if (found == actor->mailbox_.end()) return false;
  message = std::move(found->second);
  actor->mailbox_.erase(found);
  actor->give_back_credit(message);
  return true;
}

void FlowActor::ReceiveAwaiter::await_suspend(std::coroutine_handle<> handle) {
  flow = handle;
  const bool fresh = actor->find_receiver(key) == actor->receivers_.end();
  actor->receivers_.push_back(this);
  SLUICE_CHECK(fresh, "actor {}: two flows await one key (topic {}, micro-batch {})", actor->self_,
               static_cast<int>(key.topic), key.micro_batch);
}

bool FlowActor::SendAwaiter::await_ready() {
  Sender& sender = actor->senders_.at(channel);
  if (sender.credits == 0 || !sender.waiting.empty()) return false;
  --sender.credits;
  return true;
}

void FlowActor::SendAwaiter::await_suspend(std::coroutine_handle<> handle) {
  SLUICE_SOMETIMES(true, "a sender waits for a credit");
  actor->senders_.at(channel).waiting.push_back(handle);
}

void FlowActor::SendAwaiter::await_resume() { actor->post(channel, std::move(message)); }

bool FlowActor::Semaphore::Awaiter::await_ready() {
  if (semaphore->count_ == 0 || !semaphore->waiting_.empty()) return false;
  --semaphore->count_;
  return true;
}

void FlowActor::Semaphore::release(FlowActor& actor) {
  if (waiting_.empty()) {
    ++count_;
    return;
  }
  actor.wake(waiting_.front());  // the count goes straight to the first that waits
  waiting_.erase(waiting_.begin());
}

void FlowActor::Semaphore::reset(std::int32_t count) {
  SLUICE_CHECK(waiting_.empty());
  count_ = count;
}

void FlowActor::Turnstile::Awaiter::await_suspend(std::coroutine_handle<> handle) {
  SLUICE_SOMETIMES(true, "a flow waits for its turn");
  turnstile->waiting_[index] = handle;
}

void FlowActor::Turnstile::pass(FlowActor& actor) {
  ++next_;
  const auto found = waiting_.find(next_);
  if (found == waiting_.end()) return;
  actor.wake(found->second);
  waiting_.erase(found);
}

void FlowActor::Turnstile::reset(std::int32_t first) {
  SLUICE_CHECK(waiting_.empty());
  next_ = first;
}

}  // namespace sluice::actors
