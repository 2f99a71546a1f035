--[[
  Requeues one job of a dead instance where it waited: no attempt and no stall is spent. What BullMQ's own
  moveJobFromActiveToWait does, for a caller that is not the job's worker, and for BullMQ 3 to 6.

  KEYS  1 active  2 wait  3 paused  4 prioritized  5 stalled  6 marker  7 meta  8 events  9 the job's hash  10 its lock
  ARGV  1 job id
        2 instance id
        3 lock token as it was read; '' where there was no lock
        4 ms that were left of the lock when it was read; -1 where that is not known
        5 ms above which a lock counts as renewed: the job is then left alone; -1 where the token is proof
        6 'front'; 'front-counted': an instance that ended without notice is counted; 'behind': counted too, the job goes
          behind the others and stalls once, as in BullMQ's moveStalledJobsToWait
        7 the field of the job's hash for that count
  Returns 'wait', 'paused' or 'prioritized' (where the job is now), 'missing' (its hash does not exist: it has left active,
  and nothing is queued), or why nothing was touched: 'not-active', 'lock-changed', 'doubtful', 'left' (the user may not
  push to the end of the queue). An error is returned
  either before anything was touched, or after the job has safely moved.
]]
local call, pcall = redis.call, redis.pcall
local active, wait, paused, prioritized, stalled = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local marker, meta, events, job, lock = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local id, instance, token = ARGV[1], ARGV[2], ARGV[3]
local left_when_read, renewed_above = tonumber(ARGV[4]), tonumber(ARGV[5])
local is_behind, is_counted = ARGV[6] == 'behind', ARGV[6] ~= 'front'

-- Whose is it? ---------------------------------------------------------------------------------------------------------
-- A worker that finished it, or the stall check, has removed it from active.
if not call('LPOS', active, id) then return 'not-active' end

local held = call('GET', lock)
if token == '' then
  -- Without a lock only `pb` names the instance. BullMQ 3 and 4 have no `pb`: such a job is the stall check's.
  if held or instance == '' or call('HGET', job, 'pb') ~= instance then return 'lock-changed' end
else
  if held ~= token then return 'lock-changed' end
  local left = call('PTTL', lock)
  -- Somebody has renewed it since: its worker lives.
  if left_when_read >= 0 and left > left_when_read then return 'lock-changed' end
  if renewed_above >= 0 and left > renewed_above then return 'doubtful' end
end

-- How to go on ---------------------------------------------------------------------------------------------------------
-- The first failure of what may fail without stopping the rest; it is returned at the end.
local failure
local function try(...)
  local answer = pcall(...)
  if type(answer) == 'table' and answer.err then failure = failure or answer end
end

local is_paused = call('HEXISTS', meta, 'paused') == 1
local concurrency = tonumber(call('HGET', meta, 'concurrency'))

-- BullMQ 5 and later: a worker blocks on the marker. As its addBaseMarkerIfNeeded; called once the job has left active.
-- A rate limit is not looked at there either: the worker that wakes sees it, and waits.
local function wake_by_marker()
  if is_paused then return end
  if concurrency and call('LLEN', active) >= concurrency then return end
  try('ZADD', marker, 0, '0')
end

-- Redis undoes nothing when a script fails half-way. A user who may not LREM is refused here, where nothing has happened
-- yet (no id is empty); the push that follows either fails, which leaves the job in active, or is done.
call('LREM', active, 1, '')

if call('EXISTS', job) == 0 then
  call('LREM', active, 1, id)
  try('DEL', lock)
  try('SREM', stalled, id)
  -- Its slot is free for the jobs that wait.
  if concurrency then wake_by_marker() end
  return failure or 'missing'
end

-- Which BullMQ is it? --------------------------------------------------------------------------------------------------
-- The moveToActive of every BullMQ from 5.0.0 counts a start in `ats`, that of 3 and 4 in `attemptsMade`: `ats` in a job
-- that was started shows 5 or later. `meta.version` (`bullmq:5.81.5`) is written by whichever Queue was made last, or not
-- at all: where it decides, both choices must keep the job.
local is_5_or_later = call('HEXISTS', job, 'ats') == 1
local version = call('HGET', meta, 'version')
local major = version and tonumber(string.match(version, '^bullmq[^:]*:(%d+)%.')) or 0

-- To the front, or behind the others; false where the user may not do the latter.
local function push(list)
  if not is_behind then call('RPUSH', list, id) return true end
  local answer = pcall('LPUSH', list, id)
  return not (type(answer) == 'table' and answer.err)
end

-- In front of all of the same priority, as pushBackJobWithPriority, or behind them: BullMQ counts up within a priority.
local function score(priority)
  local first = priority * 0x100000000
  if not is_behind then return first end
  local last = call('ZREVRANGEBYSCORE', prioritized, first + 0xffffffff, first, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return last and math.min(tonumber(last) + 1, first + 0xffffffff) or first
end

local place
local priority = tonumber(call('HGET', job, 'priority')) or 0
if priority > 0 and (is_5_or_later or major >= 4 or call('EXISTS', prioritized) == 1) then
  place = 'prioritized'
  call('ZADD', prioritized, score(priority), id)
elseif is_paused and not (is_5_or_later and call('EXISTS', paused) == 0 and (major >= 6 or call('EXISTS', wait) == 1)) then
  -- BullMQ 3 to 5 rename wait to paused, and paused to wait when they resume, over whatever is in wait then. BullMQ 6
  -- leaves the jobs in wait, and takes those in paused over when it resumes: paused keeps a job in every version. Jobs in
  -- wait of a paused queue are BullMQ 6's.
  place = 'paused'
  if not push(paused) then return 'left' end
else
  -- Also a prioritized job of what may be BullMQ 3, which has no other list. (4 serves it too, ahead of its turn, as it
  -- does with stalled jobs.)
  place = 'wait'
  if not push(wait) then return 'left' end
end
call('LREM', active, 1, id)

-- It has moved. What follows must not stop it: a failure is reported at the end. -------------------------------------------
try('DEL', lock)
try('SREM', stalled, id)
-- `pb` would outlive the next run where that run's worker has no name, and call it this dead instance's.
try('HDEL', job, 'pb')
if is_counted then try('HINCRBY', job, ARGV[7], 1) end
if is_behind then try('HINCRBY', job, is_5_or_later and 'stc' or 'stalledCounter', 1) end
if is_5_or_later then
  -- `atm` counts at the end of a run: nothing to put back. `ats` stays, as after BullMQ's own moveToWait.
  wake_by_marker()
else
  -- Counted at the start of the run whose token has matched.
  -- Not where it stalls: the stall check leaves it too.
  if not is_behind and (tonumber(call('HGET', job, 'attemptsMade')) or 0) > 0 then try('HINCRBY', job, 'attemptsMade', -1) end
  -- Workers block on wait; a push to it wakes them. As addPriorityMarkerIfNeeded.
  if place == 'prioritized' and not is_paused and call('LLEN', wait) == 0 then try('RPUSH', wait, '0:0') end
end
local max_events = tonumber(call('HGET', meta, 'opts.maxLenEvents')) or 10000
try('XADD', events, 'MAXLEN', '~', max_events, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active')
if is_behind then try('XADD', events, 'MAXLEN', '~', max_events, '*', 'event', 'stalled', 'jobId', id) end
return failure or place
