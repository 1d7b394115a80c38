#pragma once

// The only file that knows which CAF this is. Debian 12 has 0.17.6; what later versions spell differently has
// one name here, so that an upgrade is an edit of this folder:
//
//   UNDERSTUDY_ATOM(name, "text")   0.18 drops the text
//   UNDERSTUDY_INSPECT(T, fields)   0.18 wants f.object(x).fields(...)
//   handles<..>, asks<..>::gives<>  0.18 has function signatures, 1.0 drops replies_to
//
// Message types stand in one block per daemon; blocks must not overlap (first ids below).

#include <caf/config.hpp>

#if CAF_VERSION < 1700 || CAF_VERSION >= 1800
#error "written for CAF 0.17: adapt this folder (see the list at its head)"
#endif

#include <caf/meta/type_name.hpp>
#include <caf/replies_to.hpp>
#include <caf/type_id.hpp>

namespace understudy::actors {

constexpr caf::type_id_t agent_types_begin = caf::first_custom_type_id;
constexpr caf::type_id_t host_types_begin = caf::first_custom_type_id + 100;
constexpr caf::type_id_t test_types_begin = caf::first_custom_type_id + 300;

// A handler that takes these and answers nothing.
template <class... Ts>
using handles = caf::reacts_to<Ts...>;

// A handler that takes these and answers: asks<status_atom>::gives<std::string>.
template <class... Ts>
struct asks {
  template <class... Rs>
  using gives = typename caf::replies_to<Ts...>::template with<Rs...>;
};

}  // namespace understudy::actors

// At namespace scope of understudy::atom: an atom is at most 10 characters of [A-Za-z0-9_ ].
#define UNDERSTUDY_ATOM(name, text)                            \
  using name##_atom = ::caf::atom_constant<::caf::atom(text)>; \
  constexpr name##_atom name##_v = name##_atom {}

// Inside a message struct: UNDERSTUDY_INSPECT(lag, seq, ms). Messages never leave the process, but CAF wants
// to be able to print them.
#define UNDERSTUDY_INSPECT(type, ...)                                     \
  template <class Inspector>                                              \
  typename Inspector::result_type inspect_fields(Inspector& f) {          \
    return f(::caf::meta::type_name(#type), __VA_ARGS__);                 \
  }                                                                       \
  template <class Inspector>                                              \
  friend typename Inspector::result_type inspect(Inspector& f, type& x) { \
    return x.inspect_fields(f);                                           \
  }

// A message type that only ever travels inside the process and cannot be printed (a handle, a callback, a
// protobuf).
#define UNDERSTUDY_LOCAL_MESSAGE(type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(type)
