# Writes ctl_build_info.hpp, and touches it only when what it says has changed.
execute_process(COMMAND git -C "${SOURCE}" rev-parse --short=12 HEAD
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "")
endif()
set(text "#pragma once\n#define UNDERSTUDY_CTL_VERSION \"${VERSION}\"\n#define UNDERSTUDY_CTL_COMMIT \"${commit}\"\n")
set(present "")
if(EXISTS "${OUT}")
  file(READ "${OUT}" present)
endif()
if(NOT present STREQUAL text)
  file(WRITE "${OUT}" "${text}")
endif()
