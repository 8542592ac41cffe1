"""The words by which platforms call outcomes, labels and elapsed time; what `clipfarm_tasks.data.leakage` goes by."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Parts of words: an unknown "viewcount" or "super_likes" had better stay out until somebody has looked at it.
OUTCOME_PART = re.compile(
    "view|like|comment|share|play|heart|download|vote|popular|trend|engag|viral|impression|reach|repost|retention|retain"
    "|watch|retweet|reblog|react|favou?rit|bookmark|digg|interaction|forward|stitch|duet|remix|click|conversion"
    "|completion|revenue|earning|moneti[sz]|unfollow|unsubscrib|dwell|audience|percentile|quantile|quartile|decile"
    "|performance|(over|under|out)perform|velocit|momentum|screenshot|crosspost|donat|purchase|drop ?off|chart position"
    "|time spent|chat message"
    "|(hook|hold|stop|stay) (rate|ratio)|(love|wow|haha|sad|angry|care)s? (count|total)"
)
# Whole words, because they are parts of harmless ones, as "tip" is of "description".
OUTCOME = _words(
    """
    collect collects collected save saves saved saver savers send sends sent reply replies replied quote quotes quoted
    fav favs fave faves rating ratings rank ranks ranked ranking rankings score scores scored hit hits swipe swipes
    swiped skip skips skipped loop loops finish finished finishes completed completes dropoff bounce bounces exit exits
    follow follows followed tip tips gift gifts superchat superchats sale sales visit visits visitor visitors traffic
    session sessions award awards karma kudos buzz hype hotness fyp leaderboard concurrent concurrents ccv ctr cvr vtr
    cpm rpm ecpm cpc cpv cpa vph vpd vpm lph avd apv avp vv pv uv impr roas roi emv kpi kpis growth grew delta deltas
    acceleration surge gained gains lost uplift success successful flop outlier breakout income payout payouts profit
    earned gross adsense coins diamonds gilding gildings pctl multiplier attention eng er haha opens taps thumbs ups
    downs
    """
)
NO_OUTCOME = re.compile(
    r"\b(p?re|inter|over)views?\b|\bviewport\b|\bdisplay(ed)?\b|\bplayers?\b|\bclickbait\b|\bcommentary\b|\blikely\b"
    r"|^is (duet|stitch|remix|repost|reply|quote|retweet)(ed)?$|\bage (restrict\w*|gated?|limit)\b"
)
# What the creator permits, as the contract's likes_hidden, is no outcome.
PERMISSION = _words("enabled disabled allowed allow hidden permission")

LABEL = _words(
    """
    label labels labeled labelled target targets horizon outcome outcomes response responses truth groundtruth gt
    prediction predictions predicted predict pred preds yhat ytrue ypred forecast forecasts forecasted residual
    residuals dependent actual actuals
    """
)
# Not every y: "face_y" is a coordinate.
LABEL_Y = re.compile(r"((log|raw|norm) )?y( (true|pred|hat|log|raw|p|obs|train|val|test|bin|class|norm|d|\d+))*")

ELAPSED = _words(
    """
    age ages aged since elapsed online lifetime lifespan delay lag latency recency freshness staleness ago old uptime
    days hours hrs weeks months years
    """
)
# Shorter units measure a video as well ("duration_seconds"); only beside these words they measure its time online.
SHORT_UNIT = _words("time minutes mins seconds secs duration")
ONLINE = _words("live alive up after public published posted uploaded capture captured crawl scrape")

CREATOR = _words("channel author creator user account owner uploader profile publisher")
FOLLOWERS = _words("subscriber subscribers sub subs follower followers fan fans member members")
CHANGE = _words(
    """
    gain loss change changes new net added removed diff difference increase decrease rise daily weekly monthly last
    past recent today yesterday
    """
)
WINDOW = re.compile(r"\b\d+ (d|days?|h|hrs?|hours?|w|wk|weeks?|m|mo|months?|y|years?)\b")
ONE_VIDEO = _words(
    "last latest newest recent current this video videos short shorts post posts since elapsed delay lag"
)

_COUNTED = _words("count counts total totals number num rate ratio per day hour in to log avg mean at")
_ALL = OUTCOME | LABEL | ELAPSED | SHORT_UNIT | ONLINE | FOLLOWERS | CHANGE | _COUNTED
GLUED = "|".join(sorted(_ALL, key=lambda word: (-len(word), word)))
