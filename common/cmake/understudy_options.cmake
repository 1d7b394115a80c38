# Compiler settings and the few helpers that every folder uses.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

set(UNDERSTUDY_SANITIZE "" CACHE STRING "Sanitizers to build with, for example address,undefined or thread")
option(UNDERSTUDY_WERROR "Treat warnings as errors" ON)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(UNDERSTUDY_SANITIZE)
  add_compile_options(-fsanitize=${UNDERSTUDY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${UNDERSTUDY_SANITIZE})
  if(UNDERSTUDY_SANITIZE MATCHES "thread")
    # protobuf's map fields have two members more where this is defined, and Debian's library was built without them.
    add_compile_options(-U__SANITIZE_THREAD__)
  endif()
endif()

# A target that every library of ours links: warnings, include root.
add_library(understudy_base INTERFACE)
target_include_directories(understudy_base INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_definitions(understudy_base INTERFACE UNDERSTUDY_VERSION="${PROJECT_VERSION}")
target_compile_options(understudy_base INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  $<$<BOOL:${UNDERSTUDY_WERROR}>:-Werror>)

# understudy_library(NAME SOURCES... ) makes the static library understudy_NAME. Includes are written
# from the root of the tree: #include "common/os/file_system.hpp".
function(understudy_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(understudy_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(understudy_${name} PUBLIC understudy_base ${ARG_LINK})
endfunction()
