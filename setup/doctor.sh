# shellcheck shell=bash
# What is wrong with a KOMPASS that is there. The work is done by `kompass doctor`; docs/operations/doctor.md has its checks.

setup_doctor() {
  local program
  program="$(kompass_program)" || exit
  "$program" doctor "$@"
}
