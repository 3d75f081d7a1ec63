// The few calls that CAF 0.17 and CAF 1.x spell differently.
#pragma once

#include <caf/actor_system_config.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <chrono>
#include <cstdint>
#include <utility>

// CAF_VERSION itself is 0100 in 1.1.0; 0.17 has no CAF_VERSION_MAJOR.
#if defined(CAF_VERSION_MAJOR) && CAF_VERSION_MAJOR >= 1
#define SLUICE_CAF_1 1
#else
#define SLUICE_CAF_1 0
#endif

#if SLUICE_CAF_1
#include <caf/anon_mail.hpp>
#include <caf/init_global_meta_objects.hpp>
#include <caf/type_id.hpp>
#endif

namespace sluice::host {

/// Before the first actor system of the process; again does nothing. CAF 1.x keeps a table of all
/// message types.
void register_caf_types();

/// Threads that sleep on one queue: work stealing sleeps in steps of up to 10 ms, which a device
/// lane that waits for an answer would have to wait for.
inline void configure_scheduler(caf::actor_system_config& config, int threads) {
#if SLUICE_CAF_1
  config.set("caf.scheduler.policy", "sharing");
  config.set("caf.scheduler.max-threads", static_cast<std::uint64_t>(threads));
#else
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", static_cast<std::size_t>(threads));
#endif
}

/// From inside an actor: the receiver is scheduled by the sender's own thread.
template <class T>
void send_as(caf::event_based_actor* self, const caf::actor& to, T&& content) {
#if SLUICE_CAF_1
  self->mail(std::forward<T>(content)).send(to);
#else
  self->send(to, std::forward<T>(content));
#endif
}

/// From a thread that is not CAF's.
template <class T>
void send_from_outside(const caf::actor& to, T&& content) {
#if SLUICE_CAF_1
  caf::anon_mail(std::forward<T>(content)).send(to);
#else
  caf::anon_send(to, std::forward<T>(content));
#endif
}

template <class T>
void send_later(caf::event_based_actor* self, std::chrono::nanoseconds delay, T&& content) {
#if SLUICE_CAF_1
  self->mail(std::forward<T>(content)).delay(delay).send(self);
#else
  self->delayed_send(self, delay, std::forward<T>(content));
#endif
}

}  // namespace sluice::host
