"""What runs on the host that has cl: one small script, in the language of either shell, that stays in a run's folder.

    setup                          find cl, keep its environment for the jobs, print its banner
    build JOB RECIPE drop FILE...  compile these files of folder JOB as RECIPE.rsp says; remove the folder, or, with
                                   `keep` for `drop`, just the sources
    run JOB FILE                   run JOB's program with FILE for input
    drop JOB                       end what JOB runs, and remove its folder
    sweep                          end what runs; whoever called then removes the run's folder, this script with it

Each says on its last line that it came to its end, and with what exit code: `forge-end JOB CODE`. Arguments are plain
words. The script is reached by a command line that cmd, PowerShell and POSIX shells take alike, and neither needs
standard input, which PowerShell does not hand on.
"""

BATCH = r"""@echo off
setlocal
cd /d "%~dp0"
goto do_%1

:do_setup
forfiles /p .. /m run-* /d -2 /c "cmd /d /c rd /s /q @path" >nul 2>&1
set VSCMD_SKIP_SENDTELEMETRY=1
call setup.bat >setup.log 2>&1
echo set "PATH=%PATH%">env.bat
echo set "INCLUDE=%INCLUDE%">>env.bat
echo set "LIB=%LIB%">>env.bat
echo set "LIBPATH=%LIBPATH%">>env.bat
cl <nul >banner.txt 2>&1
set CODE=%errorlevel%
if not %CODE%==0 type setup.log
type banner.txt
echo.
echo forge-end setup %CODE%
exit /b 0

:do_build
call env.bat
set VSLANG=1033
if not exist %2\ exit /b 1
cd %2
set "TMP=%cd%"
set "TEMP=%cd%"
cl /nologo @..\%3.rsp %5 %6 <nul 2>&1
set CODE=%errorlevel%
del /q *.c *.cpp *.obj 2>nul
cd ..
if not %4==keep for /l %%i in (1,1,5) do call :remove %2
echo.
echo forge-end %2 %CODE%
exit /b 0

:do_run
if not exist %2\ exit /b 1
cd %2
if exist program.exe ren program.exe %2.exe
%2.exe <%3
set CODE=%errorlevel%
echo.
echo forge-end %2 %CODE%
exit /b 0

:do_drop
call :end %2
taskkill /F /IM %2.exe >nul 2>&1
for /l %%i in (1,1,5) do call :remove %2
echo.
echo forge-end %2 0
exit /b 0

:remove
if not exist %1\ exit /b 0
rd /s /q %1 2>nul
if exist %1\ ping -n 2 127.0.0.1 >nul
exit /b 0

rem Ends the jobs whose command line holds this name, with all that they have started, but not the caller itself.
:end
set "JOB=$_.CommandLine -match '\\forge\.bat (build|run) ' -and $_.CommandLine -like '*%1*'"
set "JOBS=Get-CimInstance Win32_Process | Where-Object { $_.Name -eq 'cmd.exe' -and %JOB% }"
powershell -NoProfile -NonInteractive -Command "%JOBS% | ForEach-Object { taskkill /T /F /PID $_.ProcessId }" >nul 2>&1
exit /b 0

:do_sweep
for %%d in ("%~dp0.") do call :end %%~nxd
for /d %%j in (job-*) do taskkill /F /IM %%j.exe >nul 2>&1
echo.
echo forge-end sweep 0
exit /b 0
"""

# The newest Visual Studio, or Build Tools, that has a compiler for x64.
BATCH_SETUP = r"""@echo off
pushd "%ProgramFiles(x86)%\Microsoft Visual Studio\Installer"
set PART=Microsoft.VisualStudio.Component.VC.Tools.x86.x64
for /f "usebackq delims=" %%i in (`vswhere.exe -latest -products * -requires %PART% -property installationPath`) do (
    call "%%i\VC\Auxiliary\Build\vcvars64.bat"
)
popd
"""

# Each session of sshd is a process group of its own, led by the account's shell or by this script.
SHELL = r"""cd "$(dirname "$0")" || exit 1
end() {
    kill -KILL "-$(cat "$1/group")" 2>/dev/null
}
start() {
    cd "$1" || exit 1
    ps -o pgid= -p $$ | tr -d ' ' >group
}
case $1 in
setup)
    find .. -maxdepth 1 -name 'run-*' -mtime +2 -exec rm -rf {} + 2>/dev/null
    . ./setup.sh >setup.log 2>&1
    export -p >env.sh
    cl </dev/null >banner.txt 2>&1
    code=$?
    [ $code = 0 ] || cat setup.log
    cat banner.txt
    ;;
build)
    . ./env.sh
    start "$2"
    export TMPDIR="$PWD"
    cl /nologo "@../$3.rsp" "$5" ${6:+"$6"} </dev/null 2>&1
    code=$?
    rm -f ./*.c ./*.cpp ./*.obj
    cd ..
    [ "$4" = keep ] || rm -rf "$2"
    ;;
run)
    start "$2"
    ./program.exe <"$3"
    code=$?
    ;;
drop)
    end "$2"
    rm -rf "$2"
    code=0
    ;;
sweep)
    for group in job-*/group; do
        end "${group%/group}"
    done
    code=0
    ;;
esac
printf '\nforge-end %s %s\n' "${2:-$1}" "$code"
"""
