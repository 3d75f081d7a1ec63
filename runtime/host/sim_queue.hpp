// What is to happen, in order: by time (or another rank), then by a drawn number, then by age.
//
// Events lie still in slots while small entries move through the heap, so that an event costs the
// same whatever it carries; slots are used again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/base/check.hpp"

namespace sluice::host {

template <class Event>
class SimQueue {
 public:
  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] std::int64_t next_time_ns() const { return heap_.front().time_ns; }

  /// A new event, to be filled in. Of two at one time the one with the lower `shuffle` comes first.
  Event& push(std::int64_t time_ns, std::uint64_t shuffle = 0) {
    std::uint32_t slot = static_cast<std::uint32_t>(slots_.size());
    if (free_.empty()) {
      slots_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    heap_.push_back({time_ns, shuffle, age_++, slot});
    std::push_heap(heap_.begin(), heap_.end());
    return slots_[slot];
  }

  /// Takes out the next event and calls visit(time_ns, Event&), which may push others.
  template <class V>
  void pop(V&& visit) {
    SLUICE_CHECK(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end());
    const Entry next = heap_.back();
    heap_.pop_back();
    visit(next.time_ns, slots_[next.slot]);
    slots_[next.slot] = Event();
    free_.push_back(next.slot);
  }

  void clear() {
    heap_.clear();
    slots_.clear();
    free_.clear();
  }

 private:
  struct Entry {
    std::int64_t time_ns = 0;
    std::uint64_t shuffle = 0;
    std::uint64_t age = 0;
    std::uint32_t slot = 0;
    // For std::push_heap: the first to happen is the greatest.
    bool operator<(const Entry& other) const {
      return std::tie(time_ns, shuffle, age) > std::tie(other.time_ns, other.shuffle, other.age);
    }
  };

  std::vector<Entry> heap_;
  std::deque<Event> slots_;  // a deque: what is pushed meanwhile moves nothing
  std::vector<std::uint32_t> free_;
  std::uint64_t age_ = 0;
};

}  // namespace sluice::host
