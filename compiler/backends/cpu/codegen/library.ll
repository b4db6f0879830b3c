; The C interface of a library (docs/libraries.md): the checks.
;
; `library.py` replaces the words in double braces. Nothing here needs a C library.

; Whether a table of so many pointers is there, and none of them is null.
define internal i1 @netc.complete(ptr %table, {{size}} %count) noinline nounwind {
entry:
  %none = icmp eq {{size}} %count, 0
  br i1 %none, label %yes, label %given
given:
  %absent = icmp eq ptr %table, null
  br i1 %absent, label %no, label %test
test:
  %i = phi {{size}} [ 0, %given ], [ %next, %more ]
  %place = getelementptr ptr, ptr %table, {{size}} %i
  %pointer = load ptr, ptr %place
  %null = icmp eq ptr %pointer, null
  br i1 %null, label %no, label %more
more:
  %next = add {{size}} %i, 1
  %again = icmp ult {{size}} %next, %count
  br i1 %again, label %test, label %yes
yes:
  ret i1 true
no:
  ret i1 false
}

; 0, or the status that says what is wrong with memory of the caller.
define internal i32 @netc.placed(ptr %memory) noinline nounwind {
entry:
  %absent = icmp eq ptr %memory, null
  %address = ptrtoint ptr %memory to {{size}}
  %rest = and {{size}} %address, {{mask}}
  %skewed = icmp ne {{size}} %rest, 0
  %status = select i1 %skewed, i32 {{misaligned}}, i32 0
  %result = select i1 %absent, i32 {{null}}, i32 %status
  ret i32 %result
}

; 0, or the status that says why a workspace can't be worked with.
define internal i32 @netc.usable(ptr %workspace) noinline nounwind {
entry:
  %placed = call i32 @netc.placed(ptr %workspace)
  %fits = icmp eq i32 %placed, 0
  br i1 %fits, label %bound, label %unfit
unfit:
  ret i32 %placed
bound:
{{bound}}
}

; 0, or the status that says why there can be no run.
define internal i32 @netc.ready(ptr %workspace, ptr %inputs, ptr %outputs) noinline nounwind {
entry:
  %usable = call i32 @netc.{{ready}}(ptr %workspace)
  %in = call i1 @netc.complete(ptr %inputs, {{size}} {{inputs}})
  %out = call i1 @netc.complete(ptr %outputs, {{size}} {{outputs}})
  %both = and i1 %in, %out
  %tables = select i1 %both, i32 0, i32 {{null}}
  %fits = icmp eq i32 %usable, 0
  %status = select i1 %fits, i32 %tables, i32 %usable
  ret i32 %status
}
