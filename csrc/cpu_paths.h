// The instruction sets that the CPU path was compiled for, and the one in use.

#pragma once

#include <string>
#include <vector>

namespace linfair {

std::vector<std::string> compiled_cpu_paths();
std::vector<std::string> cpu_paths();  // those this CPU can run, the fastest last
std::string cpu_path();
bool openmp();                               // whether threads come from OpenMP
void use_cpu_path(const std::string& name);  // a name or "auto"; throws std::invalid_argument, naming the choices

}  // namespace linfair
