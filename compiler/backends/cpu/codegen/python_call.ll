; The usual call of a program by Python, without Python's steps: a function as CPython calls those of METH_FASTCALL.
;
; An object of its own beside that of a program. It holds no address: `runtime/direct.py` lays out `%facts`, says when
; this can be used at all, and what is promised. Where anything isn't as usual, it changes nothing and returns
; NotImplemented: then Python goes its own way.
;
; Python's global lock is held from the first line to the last, but for the run itself. Python code of others, by
; finalizers or signal handlers, runs at most where the session's lock is taken or given back: what is checked again once
; the lock is taken holds until the run. NULL is returned with Python's exception set.

%context = type {
  ptr,          ; 0 arena
  ptr,          ; 1 weights
  ptr,          ; 2 buffers
  i64,          ; 3 threads
  ptr           ; 4 profile
}
; What Python changes from call to call, and what it asks of a call under way.
%doors = type {
  i64,          ; 0 open: the session is ready to run
  i64,          ; 1 crowd: not 0 if calls are to run side by side, on one thread each
  i64,          ; 2 running: not 0 while the session runs by this function
  ptr,          ; 3 acquire: the method of the session's lock
  ptr           ; 4 release: the other one
}
; What stays.
%facts = type {
  ptr,          ;  0 doors
  ptr,          ;  1 context of `netc.h`
  ptr,          ;  2 run of `netc.h`
  i64,          ;  3 number of inputs
  ptr,          ;  4 inputs: a %tensor for each
  ptr,          ;  5 numpy.ndarray
  ptr,          ;  6 numpy.empty
  [2 x ptr],    ;  7 shape and dtype of the output
  ptr,          ;  8 (False,), which takes a lock without waiting
  ptr,          ;  9 True
  ptr,          ; 10 NotImplemented
  ptr,          ; 11 inside: the set of threads that call in another way, or wait
  ptr,          ; 12 wake: lets the first of them look for a session
  ptr,          ; 13 PyObject_Vectorcall
  ptr,          ; 14 PyObject_Call
  ptr,          ; 15 PySet_Size
  ptr,          ; 16 PyEval_SaveThread
  ptr,          ; 17 PyEval_RestoreThread
  ptr,          ; 18 Py_IncRef
  ptr           ; 19 Py_DecRef
}
; What an input must be.
%tensor = type {
  ptr,          ; 0 dtype: the very object
  i64,          ; 1 rank
  ptr           ; 2 shape
}
; NumPy's PyArrayObject behind CPython's header of two words.
%array = type {
  i64,          ; 0 references
  ptr,          ; 1 type
  ptr,          ; 2 elements
  i32,          ; 3 rank
  ptr,          ; 4 shape
  ptr,          ; 5 strides
  ptr,          ; 6 base
  ptr,          ; 7 dtype
  i32           ; 8 flags
}

; Whether an array is what an input must be: C-contiguous (flag 1) and aligned (flag 256), too.
define internal i1 @netc.fits(ptr %array, ptr %type, ptr %tensor) nounwind {
entry:
  %type.at = getelementptr %array, ptr %array, i64 0, i32 1
  %its.type = load ptr, ptr %type.at, align 8
  %is.array = icmp eq ptr %its.type, %type
  br i1 %is.array, label %look, label %no
look:
  %dtype.at = getelementptr %array, ptr %array, i64 0, i32 7
  %dtype = load ptr, ptr %dtype.at, align 8
  %wanted.dtype = load ptr, ptr %tensor, align 8
  %same.dtype = icmp eq ptr %dtype, %wanted.dtype
  %rank.at = getelementptr %array, ptr %array, i64 0, i32 3
  %rank.32 = load i32, ptr %rank.at, align 4
  %rank = sext i32 %rank.32 to i64
  %wanted.rank.at = getelementptr %tensor, ptr %tensor, i64 0, i32 1
  %wanted.rank = load i64, ptr %wanted.rank.at, align 8
  %same.rank = icmp eq i64 %rank, %wanted.rank
  %flags.at = getelementptr %array, ptr %array, i64 0, i32 8
  %flags = load i32, ptr %flags.at, align 4
  %dense = and i32 %flags, 257
  %is.dense = icmp eq i32 %dense, 257
  %same = and i1 %same.dtype, %same.rank
  %fits = and i1 %same, %is.dense
  br i1 %fits, label %measure, label %no
measure:
  %shape.at = getelementptr %array, ptr %array, i64 0, i32 4
  %shape = load ptr, ptr %shape.at, align 8
  %wanted.shape.at = getelementptr %tensor, ptr %tensor, i64 0, i32 2
  %wanted.shape = load ptr, ptr %wanted.shape.at, align 8
  br label %test
test:
  %axis = phi i64 [ 0, %measure ], [ %next, %compare ]
  %more = icmp slt i64 %axis, %rank
  br i1 %more, label %compare, label %yes
compare:
  %size.at = getelementptr i64, ptr %shape, i64 %axis
  %size = load i64, ptr %size.at, align 8
  %wanted.size.at = getelementptr i64, ptr %wanted.shape, i64 %axis
  %wanted.size = load i64, ptr %wanted.size.at, align 8
  %next = add i64 %axis, 1
  %same.size = icmp eq i64 %size, %wanted.size
  br i1 %same.size, label %test, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; Whether all inputs are what they must be; where their elements lie goes to `buffers`, unless that is null.
define internal i1 @netc.place(ptr %facts, ptr %arguments, ptr %buffers) nounwind {
entry:
  %inputs.at = getelementptr %facts, ptr %facts, i64 0, i32 3
  %inputs = load i64, ptr %inputs.at, align 8
  %tensors.at = getelementptr %facts, ptr %facts, i64 0, i32 4
  %tensors = load ptr, ptr %tensors.at, align 8
  %type.at = getelementptr %facts, ptr %facts, i64 0, i32 5
  %type = load ptr, ptr %type.at, align 8
  %looks = icmp eq ptr %buffers, null
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %store ], [ %next, %go.on ]
  %more = icmp slt i64 %i, %inputs
  br i1 %more, label %compare, label %yes
compare:
  %array.at = getelementptr ptr, ptr %arguments, i64 %i
  %array = load ptr, ptr %array.at, align 8
  %tensor = getelementptr %tensor, ptr %tensors, i64 %i
  %fits = call i1 @netc.fits(ptr %array, ptr %type, ptr %tensor)
  br i1 %fits, label %go.on, label %no
go.on:
  %next = add i64 %i, 1
  br i1 %looks, label %test, label %store
store:
  %elements.at = getelementptr %array, ptr %array, i64 0, i32 2
  %elements = load ptr, ptr %elements.at, align 8
  %buffer.at = getelementptr ptr, ptr %buffers, i64 %i
  store ptr %elements, ptr %buffer.at, align 8
  br label %test
yes:
  ret i1 true
no:
  ret i1 false
}

; Whether all is as usual, but for the session's lock: the session is ready, nobody calls in another way, and no profile
; is wanted.
define internal i1 @netc.usual(ptr %facts) nounwind {
entry:
  %doors = load ptr, ptr %facts, align 8
  %open = load i64, ptr %doors, align 8
  %is.open = icmp ne i64 %open, 0
  %crowd.at = getelementptr %doors, ptr %doors, i64 0, i32 1
  %crowd = load i64, ptr %crowd.at, align 8
  %no.crowd = icmp eq i64 %crowd, 0
  %context.at = getelementptr %facts, ptr %facts, i64 0, i32 1
  %context = load ptr, ptr %context.at, align 8
  %profile.at = getelementptr %context, ptr %context, i64 0, i32 4
  %profile = load ptr, ptr %profile.at, align 8
  %no.profile = icmp eq ptr %profile, null
  %others = call i64 @netc.others(ptr %facts)
  %no.others = icmp eq i64 %others, 0
  %ready = and i1 %is.open, %no.crowd
  %alone = and i1 %no.profile, %no.others
  %usual = and i1 %ready, %alone
  ret i1 %usual
}

; How many threads call in another way, or wait.
define internal i64 @netc.others(ptr %facts) nounwind {
  %inside.at = getelementptr %facts, ptr %facts, i64 0, i32 11
  %inside = load ptr, ptr %inside.at, align 8
  %size.at = getelementptr %facts, ptr %facts, i64 0, i32 15
  %size = load ptr, ptr %size.at, align 8
  %others = call i64 %size(ptr %inside)
  ret i64 %others
}

; Give up a reference.
define internal void @netc.drop(ptr %facts, ptr %object) nounwind {
  %function.at = getelementptr %facts, ptr %facts, i64 0, i32 19
  %function = load ptr, ptr %function.at, align 8
  call void %function(ptr %object)
  ret void
}

; Call a function of Python without arguments for its effect; false if it has raised an exception.
define internal i1 @netc.tell(ptr %facts, ptr %function) nounwind {
entry:
  %vectorcall.at = getelementptr %facts, ptr %facts, i64 0, i32 13
  %vectorcall = load ptr, ptr %vectorcall.at, align 8
  %result = call ptr %vectorcall(ptr %function, ptr null, i64 0, ptr null)
  %failed = icmp eq ptr %result, null
  br i1 %failed, label %done, label %drop
drop:
  call void @netc.drop(ptr %facts, ptr %result)
  br label %done
done:
  %fine = xor i1 %failed, true
  ret i1 %fine
}

; Give the session's lock back; false if that has raised an exception.
define internal i1 @netc.release(ptr %facts) nounwind {
  %doors = load ptr, ptr %facts, align 8
  %release.at = getelementptr %doors, ptr %doors, i64 0, i32 4
  %release = load ptr, ptr %release.at, align 8
  %fine = call i1 @netc.tell(ptr %facts, ptr %release)
  ret i1 %fine
}

; The run itself, meanwhile other threads have Python's lock. A forked child finds the mark.
define internal void @netc.unlocked_run(ptr %facts, ptr %context) nounwind {
  %doors = load ptr, ptr %facts, align 8
  %running.at = getelementptr %doors, ptr %doors, i64 0, i32 2
  %save.at = getelementptr %facts, ptr %facts, i64 0, i32 16
  %save = load ptr, ptr %save.at, align 8
  %restore.at = getelementptr %facts, ptr %facts, i64 0, i32 17
  %restore = load ptr, ptr %restore.at, align 8
  %run.at = getelementptr %facts, ptr %facts, i64 0, i32 2
  %run = load ptr, ptr %run.at, align 8
  store i64 1, ptr %running.at, align 8
  %state = call ptr %save()
  call void %run(ptr %context)
  call void %restore(ptr %state)
  store i64 0, ptr %running.at, align 8
  ret void
}

; PyObject *f(PyObject *self, PyObject *const *arguments, Py_ssize_t count); `self` is an array that holds %facts.
define dso_local ptr @netc_python_call_1(ptr %self, ptr %arguments, i64 %count) nounwind {
entry:
  %facts.at = getelementptr %array, ptr %self, i64 0, i32 2
  %facts = load ptr, ptr %facts.at, align 8
  %inputs.at = getelementptr %facts, ptr %facts, i64 0, i32 3
  %inputs = load i64, ptr %inputs.at, align 8
  %complete = icmp eq i64 %count, %inputs
  br i1 %complete, label %look, label %refuse
look:
  %expected = call i1 @netc.usual(ptr %facts)
  %fitting = call i1 @netc.place(ptr %facts, ptr %arguments, ptr null)
  %begin = and i1 %expected, %fitting
  br i1 %begin, label %allocate, label %refuse
allocate:
  %vectorcall.at = getelementptr %facts, ptr %facts, i64 0, i32 13
  %vectorcall = load ptr, ptr %vectorcall.at, align 8
  %empty.at = getelementptr %facts, ptr %facts, i64 0, i32 6
  %empty = load ptr, ptr %empty.at, align 8
  %wanted = getelementptr %facts, ptr %facts, i64 0, i32 7
  %output = call ptr %vectorcall(ptr %empty, ptr %wanted, i64 2, ptr null)
  %no.memory = icmp eq ptr %output, null
  br i1 %no.memory, label %fail, label %take
take:
  %call.at = getelementptr %facts, ptr %facts, i64 0, i32 14
  %call = load ptr, ptr %call.at, align 8
  %doors = load ptr, ptr %facts, align 8
  %acquire.at = getelementptr %doors, ptr %doors, i64 0, i32 3
  %acquire = load ptr, ptr %acquire.at, align 8
  %false.at = getelementptr %facts, ptr %facts, i64 0, i32 8
  %false = load ptr, ptr %false.at, align 8
  %taken = call ptr %call(ptr %acquire, ptr %false, ptr null)
  %broken = icmp eq ptr %taken, null
  br i1 %broken, label %drop, label %ask
ask:
  %true.at = getelementptr %facts, ptr %facts, i64 0, i32 9
  %true = load ptr, ptr %true.at, align 8
  %is.mine = icmp eq ptr %taken, %true
  call void @netc.drop(ptr %facts, ptr %taken)
  br i1 %is.mine, label %check, label %drop.and.refuse
check:
  %usual = call i1 @netc.usual(ptr %facts)
  br i1 %usual, label %place, label %give.back
place:
  %context.at = getelementptr %facts, ptr %facts, i64 0, i32 1
  %context = load ptr, ptr %context.at, align 8
  %buffers.at = getelementptr %context, ptr %context, i64 0, i32 2
  %buffers = load ptr, ptr %buffers.at, align 8
  %fits = call i1 @netc.place(ptr %facts, ptr %arguments, ptr %buffers)
  br i1 %fits, label %run, label %give.back
run:
  %result.at = getelementptr %array, ptr %output, i64 0, i32 2
  %result = load ptr, ptr %result.at, align 8
  %last.at = getelementptr ptr, ptr %buffers, i64 %inputs
  store ptr %result, ptr %last.at, align 8
  call void @netc.unlocked_run(ptr %facts, ptr %context)
  %is.free = call i1 @netc.release(ptr %facts)
  br i1 %is.free, label %listen, label %drop
listen:
  %others = call i64 @netc.others(ptr %facts)
  %no.others = icmp eq i64 %others, 0
  br i1 %no.others, label %done, label %wake
wake:
  %wake.at = getelementptr %facts, ptr %facts, i64 0, i32 12
  %waker = load ptr, ptr %wake.at, align 8
  %is.told = call i1 @netc.tell(ptr %facts, ptr %waker)
  br i1 %is.told, label %done, label %drop
done:
  ret ptr %output
give.back:
  %is.back = call i1 @netc.release(ptr %facts)
  br i1 %is.back, label %drop.and.refuse, label %drop
drop.and.refuse:
  call void @netc.drop(ptr %facts, ptr %output)
  br label %refuse
refuse:
  %increase.at = getelementptr %facts, ptr %facts, i64 0, i32 18
  %increase = load ptr, ptr %increase.at, align 8
  %other.at = getelementptr %facts, ptr %facts, i64 0, i32 10
  %other = load ptr, ptr %other.at, align 8
  call void %increase(ptr %other)
  ret ptr %other
drop:
  call void @netc.drop(ptr %facts, ptr %output)
  br label %fail
fail:
  ret ptr null
}
